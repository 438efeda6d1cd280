//! An author's function over a row, as a question to whole batches.
//!
//! The loop over rows is made for the very function, which so becomes part of it: a row costs no call, and of its columns only those are
//! read that the function looks at.

use std::any::TypeId;
use std::rc::Rc;

use super::{Detector, RowOf};
use crate::event::Event;
use crate::words;

/// Adds an answer for each row: columns, how many rows, configuration, and where to.
type Answering<D> = dyn Fn(&<<D as Detector>::Event as Event>::Columns<'_>, usize, &<D as Detector>::Config, &mut Vec<u8>);

/// Whether rows fit a stage.
pub(super) struct Predicate<D: Detector> {
    answers: Rc<Answering<D>>,
    /// Which function it is, where its type says so: that of a closure with captures, or of a pointer, does not.
    function: Option<TypeId>,
}

impl<D: Detector> Clone for Predicate<D> {
    fn clone(&self) -> Self {
        Self { answers: self.answers.clone(), function: self.function }
    }
}

impl<D: Detector> Predicate<D> {
    pub(super) fn new<F>(fits: F) -> Self
    where
        F: Fn(&RowOf<'_, D::Event>, &D::Config) -> bool + 'static,
    {
        let answers = move |columns: &<D::Event as Event>::Columns<'_>, rows: usize, config: &D::Config, to: &mut Vec<u8>| {
            words::every_row(rows, |row| fits(&D::Event::row(columns, row), config), to);
        };
        Self { answers: Rc::new(answers), function: (size_of::<F>() == 0).then(TypeId::of::<F>) }
    }

    /// Whether both are certainly one function.
    pub(super) fn is(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.answers, &other.answers) || self.function.is_some() && self.function == other.function
    }

    /// Adds an answer for each of so many rows, a bit each, from a byte of their own on.
    pub(super) fn judge(&self, columns: &<D::Event as Event>::Columns<'_>, rows: usize, config: &D::Config, to: &mut Vec<u8>) {
        (self.answers)(columns, rows, config, to);
    }
}
