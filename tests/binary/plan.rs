//! What is sent, and what must be stored of it: batches of every form, good and bad events among each other.

use serde_json::{Map, Value, json};

use crate::{access_log::Hit, client::gzip};

/// The stream with a schema, see [`CONFIG`].
pub(crate) const TYPED: &str = "access";
/// The stream that nothing is declared about.
pub(crate) const FREE: &str = "raw";
/// What stands in everything that must not be found in any object.
pub(crate) const POISON: &str = "must-not-be-stored";

/// Segments are as small as they may be, so that ten thousand lines fill some.
pub(crate) const CONFIG: &str = r#"
[ingest]
undeclared_streams = "accept"
[limits]
encoded_body = "256KiB"
decoded_body = "512KiB"
output = "512KiB"
[spool]
dir = "spool"
segment_size = "1MiB"
disk_quota = "64MiB"
seal_after = "3s"
[[sinks]]
name = "files"
dir = "objects"
prefix = "logs/"
[drain]
linger = "0s"
[streams.access]
time_field = "time"
[streams.access.fields]
time = "timestamp"
n = { type = "int", required = true }
ip = { type = "string", max_bytes = 64 }
method = { type = "string", max_bytes = 16 }
path = { type = "string", max_bytes = 1024 }
protocol = { type = "string", max_bytes = 16 }
status = "int"
bytes = "int"
agent = { type = "string", max_bytes = 512 }
site = "string"
"#;

/// A batch, and what comes of it.
pub(crate) struct Planned {
    pub(crate) stream: &'static str,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) id: Option<String>,
    /// What each event becomes, in their order; none if the batch cannot be parsed.
    pub(crate) fates: Vec<Fate>,
    /// The `type` of the problem that is answered, if one is.
    pub(crate) problem: Option<&'static str>,
    context: Option<Map<String, Value>>,
}

/// What becomes of an event.
pub(crate) enum Fate {
    /// It is stored: with these fields, without the server's.
    Accepted { number: u64, fields: Map<String, Value>, claimed: Option<String> },
    /// It is set aside, for this reason, as it came.
    Rejected { field: Option<&'static str>, reason: &'static str, original: String },
}

/// How a batch is spelled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Envelope,
    Array,
    Lines,
}

/// Every hit in one batch or another, with bad events and bad batches in between. The same every time.
pub(crate) fn plan(hits: &[Hit]) -> Vec<Planned> {
    let mut random = fastrand::Rng::with_seed(2015);
    let mut rest = hits;
    let mut batches = Vec::new();
    while !rest.is_empty() {
        let size = [1, 1, 2, 3, 5, 10, 20, 50, 100, 250][random.usize(..10)].min(rest.len());
        let (hits, behind) = rest.split_at(size);
        rest = behind;
        let number = batches.len();
        let form = [Form::Envelope, Form::Array, Form::Lines][random.usize(..3)];
        let stream = if random.u8(..3) == 0 { FREE } else { TYPED };
        let mut draft = Draft { form, stream, id: None, context: None, texts: Vec::new(), fates: Vec::new() };
        // A rejected event is found again by its batch's id and its place, so its batch has one.
        let rejects = stream == TYPED && number.is_multiple_of(3);
        draft.id = (rejects || random.bool()).then(|| format!("batch-{number}"));
        draft.context = (form == Form::Envelope && random.bool()).then(context);
        for (place, hit) in hits.iter().enumerate() {
            if rejects && place.is_multiple_of(10) {
                draft.reject(random.usize(..5));
            }
            draft.accept(hit);
        }
        batches.push(draft.finish(number, random.bool()));
        if number.is_multiple_of(10) {
            batches.push(malformed(number / 10));
        }
        if number.is_multiple_of(40) {
            batches.push(all_rejected(number));
        }
    }
    batches
}

fn all_rejected(number: usize) -> Planned {
    let id = Some(format!("rejected-{number}"));
    let mut draft = Draft { form: Form::Array, stream: TYPED, id, context: None, texts: Vec::new(), fates: Vec::new() };
    (0..4).for_each(|kind| draft.reject(kind));
    draft.finish(number, true)
}

/// What goes with every event of a batch. The events have an `n` of their own, which stands before this one.
fn context() -> Map<String, Value> {
    let Value::Object(context) = json!({ "site": "semicomplete.com", "region": "eu", "n": -1 }) else { unreachable!() };
    context
}

/// A batch that cannot be parsed.
fn malformed(kind: usize) -> Planned {
    let whole = format!("[{{\"n\":1,\"mark\":\"{POISON}\"}},{{\"n\":2,\"mark\":\"{POISON}\"}}]");
    let cut = whole.as_bytes()[..whole.len() - 5].to_vec();
    let (problem, encoding, body) = match kind % 6 {
        0 => ("malformed-json", None, cut),
        1 => ("empty-batch", None, b"[]".to_vec()),
        2 => ("not-a-batch", None, format!("\"{POISON}\"").into_bytes()),
        3 => ("invalid-envelope", None, format!("{{\"mark\":\"{POISON}\"}}").into_bytes()),
        4 => ("invalid-encoding", Some("gzip"), gzip(whole.as_bytes())[..40].to_vec()),
        _ => ("malformed-json", Some("gzip"), gzip(&cut)),
    };
    let mut headers = vec![("content-type", "application/json".to_owned())];
    headers.extend(encoding.map(|encoding| ("content-encoding", encoding.to_owned())));
    Planned { stream: TYPED, headers, body, id: None, fates: Vec::new(), problem: Some(problem), context: None }
}

/// A batch that is being written.
struct Draft {
    form: Form,
    stream: &'static str,
    id: Option<String>,
    context: Option<Map<String, Value>>,
    texts: Vec<String>,
    fates: Vec<Fate>,
}

impl Draft {
    fn accept(&mut self, hit: &Hit) {
        let event = hit.event();
        self.texts.push(Value::Object(event.clone()).to_string());
        let mut fields = event;
        let mut claimed = None;
        if self.stream == TYPED {
            fields.insert("time".into(), hit.canonical_time().into());
            claimed = Some(hit.canonical_time());
            let mut extra = Map::new();
            extra.extend(fields.remove_entry("referrer"));
            for (key, value) in self.context.iter().flatten().filter(|(key, _)| *key != "n") {
                if key == "site" { &mut fields } else { &mut extra }.insert(key.clone(), value.clone());
            }
            fields.insert("extra".into(), extra.into());
        } else {
            for (key, value) in self.context.iter().flatten() {
                fields.entry(key).or_insert_with(|| value.clone());
            }
        }
        self.fates.push(Fate::Accepted { number: hit.number, fields, claimed });
    }

    /// Adds an event that breaks the schema in the way of this `kind`.
    fn reject(&mut self, kind: usize) {
        let path = "x".repeat(1_025);
        let (text, field, reason) = match (kind, self.form) {
            (0, _) => ("{\"n\":1,\"status\": \"OK\"}".to_owned(), Some("status"), "wrong_type"),
            // The context has an `n`, so an event that lacks its own has that one.
            (1, _) if self.context.is_none() => ("{\"ip\":\"é\\u0041\"}".to_owned(), Some("n"), "missing"),
            (2, _) => (format!("{{\"n\":1,\"path\":\"{path}\"}}"), Some("path"), "too_long"),
            (3, _) => ("{\"n\":2,\"N\":3}".to_owned(), Some("n"), "duplicate_key"),
            (4, Form::Lines) => ("{\"n\":4,\"agent\":\"cut of".to_owned(), None, "malformed_json"),
            _ => ("17".to_owned(), None, "not_an_object"),
        };
        self.texts.push(text.clone());
        self.fates.push(Fate::Rejected { field, reason, original: text });
    }

    fn finish(self, number: usize, compressed: bool) -> Planned {
        let Self { form, stream, id, context, texts, fates } = self;
        let mut headers = Vec::new();
        let id_json = id.as_ref().map(|id| format!("\"batch_id\":\"{id}\",")).unwrap_or_default();
        let array = || format!("[{}]", texts.join(","));
        let (content_type, text) = match form {
            Form::Array => ("application/json", array()),
            Form::Lines => ("application/x-ndjson", texts.join("\n")),
            Form::Envelope => {
                let context = context.as_ref().map(|context| Value::Object(context.clone()).to_string());
                let context = context.map(|context| format!(",\"context\":{context}")).unwrap_or_default();
                // The members of an envelope come in any order.
                let text = if number.is_multiple_of(2) {
                    format!("{{{id_json}\"events\":{}{context}}}", array())
                } else {
                    let context = context.strip_prefix(',').map(|text| format!("{text},")).unwrap_or_default();
                    format!("{{{context}{id_json}\"sent_at\":\"2015-05-21T00:00:00Z\",\"events\":{}}}", array())
                };
                ("application/json", text)
            }
        };
        headers.push(("content-type", content_type.to_owned()));
        if form != Form::Envelope {
            headers.extend(id.clone().map(|id| ("idempotency-key", id)));
        }
        let mut body = text.into_bytes();
        if compressed {
            body = gzip(&body);
            headers.push(("content-encoding", "gzip".to_owned()));
        }
        Planned { stream, headers, body, id, fates, problem: None, context }
    }
}

impl Planned {
    /// The text of the context, as it is kept beside a rejected event.
    pub(crate) fn context_text(&self) -> Option<String> {
        self.context.as_ref().map(|context| Value::Object(context.clone()).to_string())
    }
}
