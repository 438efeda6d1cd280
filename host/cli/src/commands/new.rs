//! `tidemill new`: a component project that builds, tests and runs as it is.
