//! Answers of HTTP/1.1 as they come over the wire: pure.
//!
//! As much of HTTP as a device needs that hears an answer, read here and not by a library for one reason: an instance that
//! has no place for another connection says so before it has read anything, and a client library takes what comes before
//! its request for a broken connection. On air that refusal is the one that matters.
//!
//! Limits: [`MAX_HEAD`] bytes of a head; how long a body may be says who reads it.

use std::time::Duration;

/// The longest head of an answer, in bytes.
pub(super) const MAX_HEAD: usize = 32 * 1024;

/// This is no answer of HTTP/1.1, or not one that is read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Malformed;

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// `Retry-After`, if it is whole seconds.
    pub(super) retry_after: Option<Duration>,
    pub(super) length: Length,
    /// Whether the connection may carry another request.
    pub(super) keep: bool,
}

/// Where a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// Behind so many bytes.
    Bytes(usize),
    /// Behind its last chunk.
    Chunked,
    /// Where the connection ends.
    Rest,
}

impl Head {
    /// Reads a head at the beginning of `bytes`: it, and where its body begins; `None` if it is not complete yet. Interim
    /// answers (1xx) are passed over.
    ///
    /// # Errors
    /// [`Malformed`], also if it is longer than [`MAX_HEAD`].
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let mut from = 0;
        loop {
            let Some(end) = bytes[from..].windows(4).position(|window| window == b"\r\n\r\n") else {
                return if bytes.len() > MAX_HEAD { Err(Malformed) } else { Ok(None) };
            };
            let text = std::str::from_utf8(&bytes[from..from + end]).map_err(|_| Malformed)?;
            from += end + 4;
            let head = Self::parse(text)?;
            if head.status >= 200 {
                return Ok(Some((head, from)));
            }
        }
    }

    fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines = text.split("\r\n");
        let first = lines.next().and_then(|line| line.strip_prefix("HTTP/1.")).ok_or(Malformed)?;
        let (minor, rest) = first.split_once(' ').ok_or(Malformed)?;
        let status = rest.get(..3).and_then(|status| status.parse().ok()).ok_or(Malformed)?;
        let bodiless = matches!(status, 100..=199 | 204 | 304);
        let length = if bodiless { Length::Bytes(0) } else { Length::Rest };
        let mut head = Self { status, retry_after: None, length, keep: minor == "1" };
        for line in lines {
            let (name, value) = line.split_once(':').ok_or(Malformed)?;
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                let bytes = value.parse().map_err(|_| Malformed)?;
                // Chunks stand before a length, which lies then.
                if head.length != Length::Chunked && !bodiless {
                    head.length = Length::Bytes(bytes);
                }
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                if !value.eq_ignore_ascii_case("chunked") {
                    return Err(Malformed);
                }
                head.length = Length::Chunked;
            } else if name.eq_ignore_ascii_case("connection") {
                let close = value.split(',').any(|option| option.trim().eq_ignore_ascii_case("close"));
                head.keep &= !close;
            } else if name.eq_ignore_ascii_case("retry-after") {
                head.retry_after = value.parse().ok().map(Duration::from_secs);
            }
        }
        head.keep &= head.length != Length::Rest;
        Ok(head)
    }
}

/// The body in `bytes`, which are chunks from its beginning; `None` if the last one is not complete yet.
///
/// # Errors
/// [`Malformed`].
pub(super) fn chunks(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut body = Vec::new();
    loop {
        let Some(end) = bytes.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
        let line = std::str::from_utf8(&bytes[..end]).map_err(|_| Malformed)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).map_err(|_| Malformed)?;
        let chunk = &bytes[end + 2..];
        if size == 0 {
            // Trailers, each a line, end with an empty one.
            let ends = chunk.starts_with(b"\r\n") || chunk.windows(4).any(|window| window == b"\r\n\r\n");
            return Ok(ends.then_some(body));
        }
        match size.checked_add(2).and_then(|size| chunk.get(..size)) {
            Some(part) if part.ends_with(b"\r\n") => body.extend_from_slice(&part[..size]),
            Some(_) => return Err(Malformed),
            None => return Ok(None),
        }
        bytes = &chunk[size + 2..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Option<(Head, usize)>, Malformed> {
        Head::read(text.as_bytes())
    }

    #[test]
    fn a_head_is_read_once_it_is_complete() {
        let text =
            "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 7\r\ncontent-length:  12\r\nConnection: Close\r\n\r\nbody";
        let head =
            Head { status: 429, retry_after: Some(Duration::from_secs(7)), length: Length::Bytes(12), keep: false };
        assert_eq!(read(text), Ok(Some((head, text.len() - 4))));
        for end in 0..text.len() - 4 {
            assert_eq!(read(&text[..end]), Ok(None), "{end}");
        }
        let interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n";
        let (head, body) = read(interim).unwrap().unwrap();
        assert_eq!((head.status, head.length, head.keep, body), (204, Length::Bytes(0), true, interim.len()));
        assert_eq!(read(&interim[..30]), Ok(None));
    }

    #[test]
    fn a_connection_is_kept_only_if_both_sides_know_where_the_body_ends() {
        let keep = |text: &str| read(text).unwrap().unwrap().0.keep;
        assert!(keep("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(keep("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n"));
        assert!(!keep("HTTP/1.1 200 OK\r\n\r\n") && !keep("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!keep("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: foo, close\r\n\r\n"));
        let dated = read("HTTP/1.1 503 x\r\nretry-after: Sun, 22 Nov 2026 09:00:00 GMT\r\n\r\n").unwrap().unwrap().0;
        assert_eq!((dated.retry_after, dated.length), (None, Length::Rest));
    }

    #[test]
    fn what_is_no_answer_is_malformed() {
        for text in
            ["SSH-2.0\r\n\r\n", "HTTP/1.1 abc\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 200 OK\r\nno colon\r\n\r\n"]
        {
            assert_eq!(read(text), Err(Malformed), "{text}");
        }
        assert_eq!(read("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"), Err(Malformed));
        assert_eq!(read("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n"), Err(Malformed));
        assert_eq!(read(&"x".repeat(MAX_HEAD + 1)), Err(Malformed));
    }

    #[test]
    fn chunks_are_joined_once_the_last_one_is_there() {
        let text = b"5\r\nhello\r\n1;a=b\r\n \r\nA\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(chunks(text), Ok(Some(b"hello 0123456789".to_vec())));
        for end in 0..text.len() {
            assert_eq!(chunks(&text[..end]), Ok(None), "{end}");
        }
        assert_eq!(chunks(b"0\r\nTrailer: x\r\n\r\n"), Ok(Some(Vec::new())));
        assert_eq!(chunks(b"x\r\n"), Err(Malformed));
        assert_eq!(chunks(b"1\r\nabc"), Err(Malformed));
        assert_eq!(chunks(b"ffffffffffffffff\r\nabc"), Ok(None));
    }
}
