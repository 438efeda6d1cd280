//! What kind of values a file has at each place, read off all of its rows: what a stream is declared with.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// All values of one name, over all rows.
#[derive(Debug, Default)]
pub(crate) struct Shape {
    is_bool: bool,
    is_integer: bool,
    is_float: bool,
    is_text: bool,
    is_array: bool,
    is_object: bool,
    members: BTreeMap<String, Shape>,
}

impl Shape {
    /// Takes one more value into account; null says nothing.
    pub(crate) fn see(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.is_bool = true,
            // What no int64 holds can only be had as a float.
            Value::Number(number) if number.is_i64() => self.is_integer = true,
            Value::Number(_) => self.is_float = true,
            Value::String(_) => self.is_text = true,
            Value::Array(_) => self.is_array = true,
            Value::Object(members) => {
                self.is_object = true;
                members.iter().for_each(|(name, value)| self.members.entry(name.clone()).or_default().see(value));
            }
        }
    }

    /// The type of a field of such values. Nothing but nulls is a string, as when a stream finds its fields itself.
    pub(crate) fn type_name(&self) -> &'static str {
        let number = self.is_integer || self.is_float;
        match (self.is_bool, number, self.is_text, self.is_array || self.is_object) {
            (false, false, _, false) => "string",
            (true, false, false, false) => "bool",
            (false, true, false, false) if self.is_float => "float64",
            (false, true, false, false) => "int64",
            _ => "json",
        }
    }

    /// The fields of a stream whose rows are such objects. An object inside is one field of JSON, unless `names_into` says that its
    /// path is asked for: then its members are fields, named by their paths.
    pub(crate) fn fields(&self, names_into: &dyn Fn(&str) -> bool) -> Vec<Value> {
        let mut fields = Vec::new();
        self.fields_below("", names_into, &mut fields);
        fields
    }

    fn fields_below(&self, prefix: &str, names_into: &dyn Fn(&str) -> bool, fields: &mut Vec<Value>) {
        for (name, shape) in &self.members {
            let path = format!("{prefix}{name}");
            let is_only_object = shape.is_object
                && !(shape.is_bool || shape.is_integer || shape.is_float || shape.is_text || shape.is_array)
                && !shape.members.is_empty();
            if is_only_object && names_into(&path) {
                shape.fields_below(&format!("{path}."), names_into, fields);
            } else {
                fields.push(json!({"name": path, "type": shape.type_name()}));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::Shape;

    #[track_caller]
    fn check(rows: &[Value], expected: &str) {
        let mut shape = Shape::default();
        rows.iter().for_each(|row| shape.see(row));
        let fields = shape.fields(&|path| path == "user");
        let said: Vec<String> = fields.iter().map(|field| format!("{} {}", field["name"], field["type"])).collect();
        assert_eq!(said.join(", ").replace('"', ""), expected);
    }

    #[test]
    fn types_are_read_off_the_whole_file() {
        check(&[json!({"a": 1}), json!({"a": null}), json!({"a": 2})], "a int64");
        check(&[json!({"a": 0}), json!({"a": 2.5})], "a float64");
        check(&[json!({"a": 1e3})], "a float64");
        check(&[json!({"a": 18_446_744_073_709_551_615_u64})], "a float64");
        check(&[json!({"a": "x", "b": true}), json!({"b": null})], "a string, b bool");
        check(&[json!({"a": null})], "a string");
        check(&[json!({"a": 1}), json!({"a": "x"})], "a json");
        check(&[json!({"a": [1], "b": {"c": 1}})], "a json, b json");
        check(&[json!({"user": {"id": 1, "home": {"x": 1}}}), json!({"user": null})], "user.home json, user.id int64");
        check(&[json!({"user": {"id": 1}}), json!({"user": 7})], "user json");
    }
}
