//! The little of HTTP that asking a node's admin port takes.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer of an admin port is larger.
const MAX_ANSWER: u64 = 64 << 20;

/// What an admin port said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The body.
    pub body: String,
}

/// One GET; each step of it may take up to `timeout`. HTTP 1.0, so that the body comes in one piece
/// and ends with the connection.
pub(super) fn get(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<Answer> {
    let mut connection = TcpStream::connect_timeout(&address, timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    connection.write_all(request.as_bytes())?;
    let mut text = String::new();
    connection.take(MAX_ANSWER).read_to_string(&mut text)?;
    parse(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(text: &str) -> Option<Answer> {
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split_whitespace().nth(1)?.parse().ok()?;
    Some(Answer { status, body: body.to_owned() })
}

/// The sum of a metric over all of its labels, from Prometheus's text format; `None` where it is absent.
pub(super) fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            // A label's value may hold a brace or a space: the last brace ends the labels.
            Some(labels) => labels.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::{Answer, metric, parse};

    #[test]
    fn a_metric_is_summed_over_its_labels_and_not_taken_for_another() {
        let text = "# HELP a_total x\n# TYPE a_total counter\na_total{t=\"} 1\"} 2\na_total{t=\"b\"} 3.5 170\na_total_more 9\nb 4\n";
        assert_eq!(metric(text, "a_total"), Some(5.5));
        assert_eq!(metric(text, "b"), Some(4.0));
        assert_eq!(metric(text, "a"), None);
    }

    #[test]
    fn an_answer_is_its_status_and_body_and_nothing_else_is_one() {
        let answer = parse("HTTP/1.0 503 Service Unavailable\r\nx: y\r\n\r\nnot yet\r\n\r\n").unwrap();
        assert_eq!(answer, Answer { status: 503, body: "not yet\r\n\r\n".into() });
        assert_eq!(parse("SSH-2.0\r\n\r\n"), None);
        assert_eq!(parse(""), None);
    }
}
