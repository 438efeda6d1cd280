//! Members of an object that stand in for fields of the row around it: what `_unknown` holds when rows come as columns.

use super::container;
use super::decode::RowDecoder;
use super::fault::RowFault;
use super::repeats;

impl RowDecoder {
    /// Takes the members of an object as if they stood in the row that is being taken, behind its columns; how many bytes they have. On
    /// `Err` the row is to be taken back.
    pub(crate) fn spread(&mut self, text: &[u8]) -> Result<usize, RowFault> {
        let compact = container::compact(text, self.limits.depth_max).map_err(|syntax| RowFault::syntax(syntax, &self.limits))?;
        if compact.first() != Some(&b'{') {
            return Err(RowFault::no_object(&compact));
        }
        let object = repeats::last_only(&compact, &self.fields, 0);
        self.row_end = Some(object.len());
        match self.row_object(&object, 1) {
            Ok(_) => Ok(object.len()),
            Err(trouble) => Err(RowFault::trouble(trouble, &object, self.definition())),
        }
    }
}
