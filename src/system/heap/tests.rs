use super::*;
use fastrand::Rng;
use std::slice;

/// A buffer with the byte that it is filled with.
struct Buffer(*mut u8, Layout, u8);

impl Buffer {
    fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: it is allocated and initialized.
        unsafe { slice::from_raw_parts_mut(self.0, self.1.size()) }
    }

    fn holds(&mut self, bytes: usize) -> bool {
        let byte = self.2;
        self.bytes()[..bytes].iter().all(|found| *found == byte)
    }
}

#[test]
fn buffers_keep_their_content_whatever_is_allocated_freed_and_released() {
    static HEAP: Heap = Heap::new(&IS_FIXED);
    static IS_FIXED: AtomicBool = AtomicBool::new(false);
    let mut random = Rng::with_seed(1);
    let mut buffers: Vec<Buffer> = Vec::new();
    let size = |random: &mut Rng| {
        let bits = random.usize(1..20);
        random.usize(1..1 << bits)
    };
    for round in 0..3000 {
        let at = random.usize(..buffers.len().max(1));
        match random.u8(..5) {
            0 | 1 if buffers.len() < 200 => {
                let layout = Layout::from_size_align(size(&mut random), 1 << random.u8(..7)).unwrap();
                let zeroed = random.bool();
                // SAFETY: the size is not zero, and what is not initialized is filled.
                let place = unsafe {
                    let place = if zeroed { HEAP.alloc_zeroed(layout) } else { HEAP.alloc(layout) };
                    assert!(!place.is_null() && place.addr() % layout.align() == 0);
                    if zeroed {
                        assert!(slice::from_raw_parts(place, layout.size()).iter().all(|byte| *byte == 0));
                    }
                    place.write_bytes(random.u8(1..), layout.size());
                    place
                };
                // SAFETY: it was just written.
                buffers.push(Buffer(place, layout, unsafe { *place }));
            }
            2 if !buffers.is_empty() => {
                let mut buffer = buffers.swap_remove(at);
                assert!(buffer.holds(buffer.1.size()), "{round}");
                // SAFETY: it is not used any more.
                unsafe { HEAP.dealloc(buffer.0, buffer.1) };
            }
            3 if !buffers.is_empty() => {
                let Buffer(place, layout, byte) = buffers[at];
                let bytes = size(&mut random);
                // SAFETY: the size is not zero.
                let place = unsafe { HEAP.realloc(place, layout, bytes) };
                assert!(!place.is_null() && place.addr() % layout.align() == 0);
                let resized = Layout::from_size_align(bytes, layout.align()).unwrap();
                let mut buffer = Buffer(place, resized, byte);
                assert!(buffer.holds(bytes.min(layout.size())), "{round}");
                buffer.bytes().fill(byte);
                buffers[at] = buffer;
            }
            _ if round % 20 == 0 => HEAP.release(),
            _ => {}
        }
    }
    for mut buffer in buffers {
        assert!(buffer.holds(buffer.1.size()));
        // SAFETY: it is not used any more.
        unsafe { HEAP.dealloc(buffer.0, buffer.1) };
    }
}

#[test]
fn memory_that_the_system_keeps_is_not_taken_for_zeros() {
    let place = map(4 * PAGE_BYTES);
    assert_eq!(renew(place.wrapping_add(1), 3 * PAGE_BYTES), (PAGE_BYTES - 1, 1));
    // The address sanitizer's mlock(2) does nothing.
    // SAFETY: it is mapped.
    let is_locked = unsafe { libc::syscall(libc::SYS_mlock, place, 4 * PAGE_BYTES) } == 0;
    // A limit may refuse the lock.
    if is_locked {
        assert_eq!(renew(place.wrapping_add(1), 3 * PAGE_BYTES), (3 * PAGE_BYTES, 0));
    }
    assert!(unmap(place, 4 * PAGE_BYTES));
}
