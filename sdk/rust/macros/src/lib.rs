//! The macros of tidemill-sdk.
