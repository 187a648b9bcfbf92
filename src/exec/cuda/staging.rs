//! Pinned memory on the way to the device and back: a few slots each, so that the host fills one while the device
//! still reads another, and results wait until somebody asks for them.

use super::device::{Address, Device, Event, Pinned, Queue};
use super::error::CudaError;

/// Slots for inputs: one that the device reads, one on its way, one that the host fills.
const INBOUND: usize = 3;

/// Inputs up to this size go along with the work; larger ones travel on a queue of their own meanwhile.
const SMALL: usize = 64 << 10;

struct Inbound {
    host: Pinned,
    /// A place in device memory, for inputs that travel ahead; 0 before the first of these.
    device: Address,
    room: usize,
    /// The host memory has been read.
    sent: Event,
    /// The device memory has been read.
    used: Event,
}

/// Slots for inputs, used in turn.
#[derive(Default)]
pub(super) struct Inputs {
    slots: Vec<Inbound>,
    next: usize,
}

impl Inputs {
    /// Bytes of device memory that blocks of this size make it hold, beyond what it holds now.
    pub fn growth(&self, bytes: usize) -> usize {
        match bytes > SMALL {
            true => (0..INBOUND).map(|i| bytes.saturating_sub(self.slots.get(i).map_or(0, |s| s.room))).sum(),
            false => 0,
        }
    }

    /// Sends a block of `bytes`, which `fill` writes, to device memory at `to`, in the order of [`Queue::Work`].
    pub fn send(
        &mut self,
        device: &dyn Device,
        bytes: usize,
        to: Address,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), CudaError> {
        if bytes == 0 {
            return Ok(());
        }
        if self.slots.len() < INBOUND {
            let (sent, used) = (device.event()?, device.event()?);
            self.slots.push(Inbound { host: device.pin(bytes)?, device: 0, room: 0, sent, used });
            self.next = self.slots.len() - 1;
        }
        let slot = &mut self.slots[self.next];
        self.next = (self.next + 1) % INBOUND;
        device.wait(slot.sent)?;
        if slot.host.len() < bytes {
            device.unpin(std::mem::replace(&mut slot.host, device.pin(bytes)?));
        }
        // SAFETY: the event says that the device has read what was here.
        fill(unsafe { &mut slot.host.bytes_mut()[..bytes] });
        if bytes <= SMALL {
            device.upload(Queue::Work, &slot.host, bytes, to)?;
            return device.record(slot.sent, Queue::Work);
        }
        if slot.room < bytes {
            device.synchronise()?;
            if slot.room > 0 {
                device.release(slot.device);
                slot.room = 0;
            }
            slot.device = device.alloc(bytes)?;
            slot.room = bytes;
        }
        device.follow(Queue::Upload, slot.used)?;
        device.upload(Queue::Upload, &slot.host, bytes, slot.device)?;
        device.record(slot.sent, Queue::Upload)?;
        device.follow(Queue::Work, slot.sent)?;
        device.copy(slot.device, to, bytes)?;
        device.record(slot.used, Queue::Work)
    }
}

struct Outbound {
    host: Pinned,
    done: Event,
    busy: bool,
}

/// Slots for results.
#[derive(Default)]
pub(super) struct Results {
    slots: Vec<Outbound>,
}

impl Results {
    /// Fetches pieces (place, bytes, place in the slot) into a free slot, in the order of [`Queue::Work`]; its number.
    pub fn fetch(
        &mut self,
        device: &dyn Device,
        bytes: usize,
        pieces: &[(Address, usize, usize)],
    ) -> Result<usize, CudaError> {
        let at = match self.slots.iter().position(|s| !s.busy) {
            Some(at) => at,
            None => {
                let (host, done) = (device.pin(bytes.max(1))?, device.event()?);
                self.slots.push(Outbound { host, done, busy: false });
                self.slots.len() - 1
            }
        };
        let slot = &mut self.slots[at];
        if slot.host.len() < bytes {
            device.unpin(std::mem::replace(&mut slot.host, device.pin(bytes)?));
        }
        for &(from, n, to) in pieces {
            device.download(from, n, &slot.host, to)?;
        }
        device.record(slot.done, Queue::Work)?;
        slot.busy = true;
        Ok(at)
    }

    /// Waits for a slot, lets `read` see its bytes, and frees it.
    pub fn take<T>(
        &mut self,
        device: &dyn Device,
        at: usize,
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<T, CudaError> {
        let slot = &mut self.slots[at];
        slot.busy = false;
        device.wait(slot.done)?;
        // SAFETY: the event says that the device has written all of it.
        Ok(read(unsafe { slot.host.bytes() }))
    }
}
