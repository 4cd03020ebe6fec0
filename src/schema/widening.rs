//! Whether one schema may take the place of another while devices send.
//!
//! A schema is *widened* if whatever it declared stays as it was or becomes wider: what devices send today goes on as it
//! does, and what is stored under the one stands beside what is stored under the other. What that means for a warehouse
//! is not judged here: `warehouse::evolution` does, and refuses some of it, as where a column cannot lose its NOT NULL.

use super::{Field, FieldType, OnError, Schema, UnknownFields};

impl Schema {
    /// Whether this schema is `old`, widened:
    ///
    /// - the fields of `old` come first, in their order, each as it was, or with a longer string or JSON value, or not
    ///   required any more, or with an `on_error` that rejects less;
    /// - fields behind them are not required;
    /// - the time field is the same;
    /// - undeclared fields do not reject an event that they did not reject before.
    pub fn widens(&self, old: &Self) -> bool {
        let time = |schema: &Self| schema.time_field.map(|slot| schema.field(slot).name.clone());
        let rejects = |schema: &Self| schema.unknown == UnknownFields::Reject;
        let (same, added) = self.fields.split_at(self.fields.len().min(old.fields.len()));
        same.len() == old.fields.len()
            && same.iter().zip(&old.fields).all(|(new, old)| new.widens(old))
            && added.iter().all(|field| !field.required)
            && time(self) == time(old)
            && (!rejects(self) || rejects(old))
    }
}

impl Field {
    fn widens(&self, old: &Self) -> bool {
        let wider = match (self.kind, old.kind) {
            (FieldType::String { max_bytes }, FieldType::String { max_bytes: old })
            | (FieldType::Json { max_bytes }, FieldType::Json { max_bytes: old }) => max_bytes >= old,
            (new, old) => new == old,
        };
        wider
            && self.name == old.name
            && self.private == old.private
            && (old.required || !self.required)
            && rejects_at_most(self.on_error, old.on_error)
    }
}

/// Whether `new` rejects no value that `old` does not: null takes the place of any, and only a string can be cut.
fn rejects_at_most(new: OnError, old: OnError) -> bool {
    let spares = |on_error| match on_error {
        OnError::Reject => 0,
        OnError::Truncate => 1,
        OnError::Null => 2,
    };
    spares(new) >= spares(old)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::schema::{PrivacyKey, Private};

    fn schema(fields: &[Field], unknown: Option<UnknownFields>, time: Option<&str>) -> Schema {
        let key = Some(Arc::new(PrivacyKey::new(b"0123456789abcdef")));
        Schema::new(fields.to_vec(), unknown, time, key).unwrap()
    }

    fn string(name: &str, max_bytes: u32) -> Field {
        Field::new(name, FieldType::String { max_bytes })
    }

    #[test]
    fn what_was_declared_stays_or_becomes_wider() {
        let at = Field::new("at", FieldType::Timestamp);
        let must = Field { required: true, on_error: OnError::Reject, ..string("must", 8) };
        let old = schema(&[at.clone(), must.clone()], None, Some("at"));
        let new = |fields: &[Field]| schema(fields, None, Some("at"));
        let with = |must: Field| new(&[at.clone(), must]);
        for (wider, why) in [
            (new(&[at.clone(), must.clone()]), "the same"),
            (new(&[at.clone(), must.clone(), string("more", 1)]), "an optional field behind"),
            (with(string("must", 9)), "longer, and optional"),
            (with(Field { on_error: OnError::Truncate, ..must.clone() }), "cut and not rejected"),
        ] {
            assert!(wider.widens(&old), "{why}");
        }
        let required = Field { required: true, ..string("more", 1) };
        for (other, why) in [
            (new(std::slice::from_ref(&at)), "a field is gone"),
            (new(&[must.clone(), at.clone()]), "another order"),
            (new(&[at.clone(), string("more", 1), must.clone()]), "a field in between"),
            (new(&[at.clone(), must.clone(), required]), "a required field"),
            (with(Field { required: true, ..string("must", 7) }), "shorter"),
            (with(Field { required: true, ..string("other", 8) }), "another name"),
            (with(Field { kind: FieldType::Int, ..must.clone() }), "another type"),
            (with(Field { private: Some(Private::Hash), ..must.clone() }), "private"),
            (schema(&[at.clone(), must.clone()], None, None), "another time"),
            (schema(&[at.clone(), must.clone()], Some(UnknownFields::Reject), Some("at")), "unknown ones reject"),
        ] {
            assert!(!other.widens(&old), "{why}");
        }
        let optional = schema(&[at.clone(), string("must", 8)], None, Some("at"));
        assert!(!old.widens(&optional), "required from now on");
        let null = schema(&[at, Field { on_error: OnError::Null, ..string("must", 8) }], None, Some("at"));
        assert!(!optional.widens(&null), "rejected from now on");
    }

    #[test]
    fn a_free_form_is_widened_by_whatever_is_declared_but_a_time() {
        let free = Schema::free_form();
        assert!(schema(&[string("a", 1)], None, None).widens(&free));
        let at = [Field::new("at", FieldType::Timestamp)];
        assert!(!schema(&at, None, Some("at")).widens(&free));
        assert!(!schema(&[string("a", 1)], Some(UnknownFields::Reject), None).widens(&free));
    }
}
