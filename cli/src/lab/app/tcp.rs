//! The application's TCP side: says who it is, then echoes lines.

use super::{
    Identity,
    fault::{Course, Fault},
};
use std::{io, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

/// Serves one connection until the client has said all.
pub(super) async fn serve(
    stream: TcpStream,
    identity: Arc<Identity>,
    fault: Fault,
) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    if fault.suffer().await == Course::Fail {
        return Ok(());
    }
    writer
        .write_all(format!("{} {}\n", identity.version, identity.name).as_bytes())
        .await?;
    let mut lines = BufReader::new(reader);
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await? > 0 {
        if fault.suffer().await == Course::Fail {
            return Ok(());
        }
        writer.write_all(&line).await?;
        line.clear();
    }
    Ok(())
}
