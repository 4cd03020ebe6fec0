//! What is wrong with sinks that make objects.

use super::Rules;
use crate::config::{
    Spool,
    report::Report,
    sinks::{SinkTarget, Sse},
    size::Size,
};

/// The longest prefix, in bytes. A key of S3 has 1024, and 200 or so are the stream's and the segment's.
const MAX_PREFIX_BYTES: usize = 512;
/// The longest part of a prefix, in bytes: a directory's name in a file system has no more, and a bucket that is copied
/// to files should find room there.
const MAX_PART_BYTES: usize = 255;

impl Rules<'_> {
    pub(super) fn objects(&self, spool: &Spool, report: &mut Report) {
        let sink = self.sink;
        if !sink.kind.has_objects() {
            return;
        }
        if let Some(fault) = prefix_fault(&sink.prefix) {
            report.wrong(
                self.key("prefix"),
                format!("is {:?}, which {fault}", sink.prefix),
                "write parts that each end in `/`, such as \"logs/app/\", or \"\" for none",
            );
        }
        let (codec, level, levels) = (sink.codec(), sink.level(), sink.codec().levels());
        if !levels.contains(&level) {
            let (least, most) = levels.into_inner();
            report.between(
                self.key("level"),
                &[self.key("codec")],
                format!("is {level}, and a level of {} is {least} to {most}", codec.as_str()),
                format!("choose from {least} to {most}, or leave it out for {}", codec.default_level()),
            );
        }
        self.object_size(spool, report);
        self.encryption(report);
    }

    /// An object cannot be larger than what it is made of. Whether a segment compresses to it is not known here: `check`
    /// warns if that is unlikely.
    fn object_size(&self, spool: &Spool, report: &mut Report) {
        let Some(size) = self.sink.object_size else { return };
        report.within(self.key("object_size"), &size, &(Size::mib(1)..=Size::gib(1)));
        if size > spool.segment_size {
            report.between(
                self.key("object_size"),
                &["spool.segment_size".into()],
                format!("is {size}, more than a segment has before it is compressed ({})", spool.segment_size),
                "raise spool.segment_size to some ten times object_size, or lower object_size",
            );
        }
    }

    fn encryption(&self, report: &mut Report) {
        let SinkTarget::S3(target) = self.sink.target() else { return };
        match (target.sse, target.kms_key) {
            (Sse::Kms, None) => report.between(
                self.key("kms_key"),
                &[self.key("sse")],
                "is missing, and sse = \"kms\" needs it",
                "add the id or ARN of the key",
            ),
            (Sse::None | Sse::S3, Some(_)) => report.between(
                self.key("kms_key"),
                &[self.key("sse")],
                "is given without sse = \"kms\"",
                "add sse = \"kms\", or leave it out",
            ),
            (Sse::Kms, Some(_)) | (Sse::None | Sse::S3, None) => {}
        }
    }
}

fn prefix_fault(prefix: &str) -> Option<&'static str> {
    if prefix.is_empty() {
        return None;
    }
    let parts = prefix.strip_suffix('/').unwrap_or(prefix);
    if prefix.len() > MAX_PREFIX_BYTES {
        Some("has more than 512 bytes")
    } else if !prefix.ends_with('/') {
        Some("does not end in `/`")
    } else if prefix.starts_with('/') {
        Some("begins with `/`")
    } else if parts.split('/').any(|part| matches!(part, "" | "." | "..")) {
        Some("has a part that is empty, `.` or `..`")
    } else if parts.split('/').any(|part| part.len() > MAX_PART_BYTES) {
        Some("has a part of more than 255 bytes")
    } else if prefix.chars().any(char::is_control) {
        Some("has a control character")
    } else {
        None
    }
}
