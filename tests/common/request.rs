//! Requests, right or wrong.

/// A request, as bytes in the making.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    /// A request without a body.
    pub(crate) fn new(method: &str, target: &str) -> Self {
        Self { line: format!("{method} {target} HTTP/1.1"), headers: vec![], body: vec![] }.header("host", "logs.test")
    }

    /// A JSON batch for `stream`.
    pub(crate) fn post(stream: &str, body: impl AsRef<[u8]>) -> Self {
        let request = Self::new("POST", &format!("/v1/logs/{stream}"));
        request.header("content-type", "application/json").body(body)
    }

    /// With this header, instead of one of the same name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self = self.without(name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without the header `name`.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        self
    }

    /// With this body and its length.
    pub(crate) fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        let len = self.body.len().to_string();
        self.header("content-length", &len)
    }

    /// With the body in chunks of `size` bytes, and without its length.
    pub(crate) fn chunked(mut self, size: usize) -> Self {
        let body = std::mem::take(&mut self.body);
        let mut chunks = Vec::new();
        for chunk in body.chunks(size) {
            chunks.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            chunks.extend_from_slice(chunk);
            chunks.extend_from_slice(b"\r\n");
        }
        self.body = [&chunks, b"0\r\n\r\n".as_slice()].concat();
        self.without("content-length").header("transfer-encoding", "chunked")
    }

    /// The request line and the headers.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// The whole request.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        [self.head(), self.body.clone()].concat()
    }
}
