//! Pipelines: plan, tasks, workers, checkpoints, deployment.
