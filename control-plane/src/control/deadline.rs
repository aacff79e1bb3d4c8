//! Deadlines of streams. The transport ends calls whose answer has not begun; a stream that has
//! begun is ended here.

use std::{future::Future, time::Duration};
use tokio::sync::mpsc;
use tonic::{Status, metadata::MetadataMap};

/// How long a call may take: `grpc-timeout`, where the caller set one.
///
/// Source: gRPC over HTTP/2, "Requests": at most eight digits and a unit.
pub(super) fn of(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3_600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Runs what fills a stream, until the deadline at most.
pub(super) async fn end_at<T>(
    within: Option<Duration>,
    sender: mpsc::Sender<Result<T, Status>>,
    stream: impl Future<Output = ()>,
) {
    let Some(within) = within else {
        return stream.await;
    };
    if tokio::time::timeout(within, stream).await.is_err() {
        let over = Status::deadline_exceeded("the deadline of the call has passed");
        // A reader that does not read learns it from its own clock.
        drop(sender.try_send(Err(over)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_read_as_grpc_writes_it() {
        let read = |text: &str| {
            let mut metadata = MetadataMap::new();
            metadata.insert("grpc-timeout", text.parse().unwrap());
            of(&metadata)
        };
        assert_eq!(read("250m"), Some(Duration::from_millis(250)));
        assert_eq!(read("2S"), Some(Duration::from_secs(2)));
        assert_eq!(read("1H"), Some(Duration::from_secs(3_600)));
        for text in ["", "S", "5", "5x", "123456789S", "-1S"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(of(&MetadataMap::new()), None);
    }
}
