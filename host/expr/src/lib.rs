//! SQL expressions over record batches; the only crate of pipelines that knows DataFusion.
