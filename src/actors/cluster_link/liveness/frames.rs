//! The bytes of heartbeats and their answers, drawn in `docs/FORMAT.md`.

use std::{io, time::Duration};

use bytes::{Buf, BufMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::{Answer, Beat, VoterView};
use crate::model::{BrokerEpoch, NodeId};

/// More than a later version will need; nothing longer is read.
const BODY_BYTES_MAX: usize = 256;
const STOPPING: u8 = 1;
const FENCED: u8 = 1;
const NO_CONTROLLER: i32 = -1;

/// A heartbeat: when it was sent by the sender's clock, and what it says. The time comes back with the answer.
pub(super) fn beat(sent: Duration, beat: Beat) -> Vec<u8> {
    framed(|body| {
        body.put_u64(sent.as_nanos() as u64);
        body.put_i64(beat.broker_epoch.get());
        body.put_u64(beat.image_index);
        body.put_u8(if beat.stopping { STOPPING } else { 0 });
    })
}

pub(super) fn beat_of(mut body: &[u8]) -> io::Result<(u64, Beat)> {
    let from = &mut body;
    let sent = from.try_get_u64()?;
    let broker_epoch = BrokerEpoch::new(from.try_get_i64()?);
    let image_index = from.try_get_u64()?;
    let stopping = from.try_get_u8()? & STOPPING != 0;
    Ok((sent, Beat { broker_epoch, image_index, stopping }))
}

/// The answer of a voter to a node.
pub(super) fn answer(sent: u64, view: &VoterView, to: NodeId) -> Vec<u8> {
    framed(|body| {
        body.put_u64(sent);
        body.put_u64(view.controller_epoch);
        body.put_i32(view.controller.map_or(NO_CONTROLLER, NodeId::get));
        body.put_u8(if view.fenced.contains(&to) { FENCED } else { 0 });
    })
}

pub(super) fn answer_of(mut body: &[u8]) -> io::Result<Answer> {
    let from = &mut body;
    let sent = Duration::from_nanos(from.try_get_u64()?);
    let controller_epoch = from.try_get_u64()?;
    let controller = Some(from.try_get_i32()?).filter(|node| *node != NO_CONTROLLER).map(NodeId::new);
    let fenced = from.try_get_u8()? & FENCED != 0;
    Ok(Answer { controller_epoch, controller, fenced, sent })
}

fn framed(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut frame = vec![0; 2];
    fill(&mut frame);
    let len = (frame.len() - 2) as u16;
    for (to, from) in frame.iter_mut().zip(len.to_be_bytes()) {
        *to = from;
    }
    frame
}

/// Reads one frame's body. Not to be cut off half way: what was read is lost.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let len = usize::from(stream.read_u16().await?);
    if len > BODY_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a heartbeat that is too long"));
    }
    let mut body = vec![0; len];
    stream.read_exact(&mut body).await?;
    Ok(body)
}
