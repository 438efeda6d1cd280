//! The durable partitioned log: journal, tails, segments.
