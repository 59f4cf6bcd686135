//! Requests of HTTP/1, and the answers to them.

use httparse::{EMPTY_HEADER, Header, Status};

use super::TextFormat;

/// Largest length of a request's line and headers together, in bytes.
pub(crate) const MAX_REQUEST: usize = 8192;
/// Largest number of headers of a request.
const MAX_HEADERS: usize = 64;

/// What the bytes of an HTTP request say, as far as they have come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// More bytes have to come.
    Incomplete,
    /// GET or HEAD of the metrics.
    Metrics {
        format: TextFormat,
        /// HEAD: without the text.
        is_head: bool,
    },
    /// A request that is answered without metrics: status line and text of the answer.
    Refused(&'static str, &'static str),
}

impl Request {
    /// Parses the bytes of a request that have come so far.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let mut headers = [EMPTY_HEADER; MAX_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(bytes) {
            Ok(Status::Complete(_)) => {}
            Ok(Status::Partial) if bytes.len() < MAX_REQUEST => return Self::Incomplete,
            Ok(Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
                return Self::Refused("431 Request Header Fields Too Large", "The headers are too long.\n");
            }
            Err(_) => return Self::Refused("400 Bad Request", "This is no request of HTTP/1.\n"),
        }
        let path = request.path.unwrap_or_default();
        if path.split('?').next() != Some("/metrics") {
            return Self::Refused("404 Not Found", "The metrics are at /metrics.\n");
        }
        match request.method {
            Some(method @ ("GET" | "HEAD")) => {
                Self::Metrics { format: format(request.headers), is_head: method == "HEAD" }
            }
            _ => Self::Refused("405 Method Not Allowed\r\nAllow: GET, HEAD", "Only GET and HEAD.\n"),
        }
    }
}

/// The text format that the headers `Accept` ask for.
fn format(headers: &[Header<'_>]) -> TextFormat {
    let accept = headers.iter().filter(|header| header.name.eq_ignore_ascii_case("accept"));
    let mut weights = [0.0, 0.0];
    for range in accept.filter_map(|header| str::from_utf8(header.value).ok()).flat_map(|it| it.split(',')) {
        let mut parts = range.split(';').map(str::trim);
        let which = match parts.next() {
            Some(kind) if kind.eq_ignore_ascii_case("application/openmetrics-text") => 0,
            Some("text/plain" | "text/*" | "*/*") => 1,
            _ => continue,
        };
        let weight = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f64>().ok()).unwrap_or(1.0);
        weights[which] = weight.max(weights[which]);
    }
    let [open_metrics, text] = weights;
    if open_metrics > 0.0 && open_metrics >= text { TextFormat::OpenMetrics } else { TextFormat::Prometheus }
}

/// An answer of HTTP/1, after which the connection is closed.
pub(crate) fn answer(status: &str, content_type: &str, text: &str, is_head: bool) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        text.len()
    );
    let text = if is_head { "" } else { text };
    [head.as_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn accepts(accept: &str) -> TextFormat {
        let request = format!("GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\naccept: {accept}\r\n\r\n");
        match Request::parse(request.as_bytes()) {
            Request::Metrics { format, is_head: false } => format,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_format_is_what_the_client_prefers() {
        use TextFormat::{OpenMetrics, Prometheus};
        // What Prometheus 3 sends.
        let prometheus = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
                          application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                          application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        assert_eq!(accepts(prometheus), OpenMetrics);
        assert_eq!(accepts("*/*"), Prometheus);
        assert_eq!(accepts("text/plain"), Prometheus);
        assert_eq!(accepts("application/openmetrics-text;q=0"), Prometheus);
        assert_eq!(accepts("application/openmetrics-text;q=0.2, text/plain;q=0.9"), Prometheus);
        assert_eq!(accepts("application/openmetrics-text"), OpenMetrics);
        let request = b"GET /metrics HTTP/1.0\r\n\r\n";
        assert_eq!(Request::parse(request), Request::Metrics { format: Prometheus, is_head: false });
    }

    #[test]
    fn other_requests_are_refused() {
        for (request, status) in [
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metricsx HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400"),
            ("\u{16}\u{3}\u{1} TLS", "400"),
        ] {
            let Request::Refused(found, _) = Request::parse(request.as_bytes()) else { panic!("{request}") };
            assert!(found.starts_with(status), "{request}: {found}");
        }
        let headers = "A: b\r\n".repeat(MAX_HEADERS + 1);
        let many = format!("GET /metrics HTTP/1.1\r\n{headers}\r\n");
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "b".repeat(MAX_REQUEST));
        for request in [many, long] {
            let Request::Refused(found, _) = Request::parse(request.as_bytes()) else { panic!("{request}") };
            assert!(found.starts_with("431"), "{found}");
        }
    }

    proptest! {
        /// A request that comes byte by byte is understood as one that comes at once, and no bytes make a panic.
        #[test]
        fn a_request_may_come_in_pieces(
            request in prop_oneof![
                Just("GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n".as_bytes().to_vec()),
                Just(b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
                prop::collection::vec(any::<u8>(), 0..200),
            ],
        ) {
            let whole = Request::parse(&request);
            let first = (0..=request.len()).map(|len| Request::parse(&request[..len]));
            let first = first.into_iter().find(|parsed| *parsed != Request::Incomplete);
            prop_assert_eq!(first.unwrap_or(Request::Incomplete), whole);
        }
    }
}
