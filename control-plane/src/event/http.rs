//! CloudEvents over HTTP.
//!
//! Source: CloudEvents HTTP Protocol Binding 1.0.2; what the statuses mean: HTTP 1.1 Web Hooks for
//! Event Delivery 1.0.2, section 2.1, and RFC 9110.

use super::{
    cloud_event::{CloudEvent, DATA, STRUCTURED},
    deliver::Failure,
};
use crate::{
    clock,
    model::{ContentMode, Timestamp, shown},
    web::{Answer, Client},
};
use http::{
    HeaderMap, Request, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use http_body_util::Full;
use std::time::{Duration, SystemTime};

/// A sink's answer may have a body of so many bytes, which is thrown away.
const LONGEST_ANSWER: usize = 64 << 10;

/// An HTTP sink.
#[derive(Debug)]
pub(super) struct HttpSink {
    pub(super) client: Client,
    pub(super) address: String,
    pub(super) mode: ContentMode,
    pub(super) within: Duration,
}

impl HttpSink {
    pub(super) async fn send(&self, event: &CloudEvent<'_>) -> Result<(), Failure> {
        let request = Request::post(&self.address);
        let (request, body) = match self.mode {
            ContentMode::Structured => {
                (request.header(CONTENT_TYPE, STRUCTURED), event.structured())
            }
            ContentMode::Binary => {
                let (headers, body) = event.binary();
                let request = request.header(CONTENT_TYPE, DATA);
                let add = |request: http::request::Builder, (name, value)| {
                    request.header::<String, String>(name, value)
                };
                (headers.into_iter().fold(request, add), body)
            }
        };
        let request = request
            .body(Full::from(body))
            .map_err(|error| Failure::passing(format!("its address can't be used: {error}")))?;
        let answer = self
            .client
            .send(request, self.within, LONGEST_ANSWER)
            .await
            .map_err(|error| Failure::passing(error.to_string()))?;
        judge(&answer, clock::now())
    }
}

/// What an answer means.
fn judge(answer: &Answer, now: Timestamp) -> Result<(), Failure> {
    let status = answer.status;
    if status.is_success() {
        return Ok(());
    }
    if status.is_redirection() {
        // It says nothing of the event: what waits comes through once it is gone.
        let to = answer.headers.get(LOCATION).and_then(|to| to.to_str().ok());
        return Err(Failure::passing(match to {
            Some(to) => format!(
                "{status}: redirects are not followed: write where it leads ({}) into the policy",
                shown(to)
            ),
            None => format!("{status}: redirects are not followed"),
        }));
    }
    let passing = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    );
    Err(Failure {
        refused: status.is_client_error() && !passing,
        retry_after: retry_after(&answer.headers, now),
        ..Failure::passing(status.to_string())
    })
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    let now = Duration::from_millis(now.0);
    Some(date.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, header: Option<(http::HeaderName, &str)>) -> Answer {
        let mut headers = HeaderMap::new();
        if let Some((name, value)) = header {
            headers.insert(name, value.parse().unwrap());
        }
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: bytes::Bytes::new(),
        }
    }

    #[test]
    fn a_status_says_whether_to_try_again() {
        let now = Timestamp(1_000);
        for status in [200, 202, 204] {
            assert_eq!(judge(&answer(status, None), now), Ok(()));
        }
        for (status, is_refused) in [
            (302, false),
            (400, true),
            (404, true),
            (410, true),
            (415, true),
            (408, false),
            (425, false),
            (429, false),
            (500, false),
            (503, false),
        ] {
            let failure = judge(&answer(status, None), now).unwrap_err();
            assert_eq!(failure.refused, is_refused, "{status}");
        }
        let moved = judge(&answer(301, Some((LOCATION, "https://there/?word"))), now).unwrap_err();
        assert!(
            moved.reason.contains("(https://there/…)"),
            "{}",
            moved.reason
        );
    }

    #[test]
    fn a_sink_may_ask_for_a_wait() {
        let asked = |value: &str| {
            // Sun, 06 Nov 1994 08:49:37 GMT
            let now = Timestamp(784_111_777_000);
            let answer = answer(503, Some((RETRY_AFTER, value)));
            judge(&answer, now).unwrap_err().retry_after
        };
        assert_eq!(asked("7"), Some(Duration::from_secs(7)));
        assert_eq!(
            asked("Sun, 06 Nov 1994 08:50:07 GMT"),
            Some(Duration::from_secs(30))
        );
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(asked("soon"), None);
    }
}
