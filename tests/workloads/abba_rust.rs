// SPDX-License-Identifier: GPL-2.0-or-later
/* AB-BA with std::sync::Mutex: no owner is kept anywhere. */
use std::ffi::{c_char, c_uint};
use std::sync::{Barrier, Mutex};

extern "C" {
    fn workload_begin();
    fn workload_enter(label: *const c_char);
    fn workload_blocks();
    fn workload_report(blocked_count: c_uint);
    fn workload_stay() -> !;
}

static M1: Mutex<i64> = Mutex::new(0);
static M2: Mutex<i64> = Mutex::new(0);

#[inline(never)]
fn transfer(from: &Mutex<i64>, to: &Mutex<i64>, both_hold_one: &Barrier) {
    let mut source = from.lock().unwrap();
    both_hold_one.wait();
    unsafe { workload_blocks() };
    let mut target = to.lock().unwrap();
    *source -= 1;
    *target += 1;
}

fn main() {
    static LABELS: [&[u8]; 2] = [b"rs-a\0", b"rs-b\0"];
    unsafe { workload_begin() };
    let both_hold_one: &'static Barrier = Box::leak(Box::new(Barrier::new(2)));
    for (label, from, to) in [(LABELS[0], &M1, &M2), (LABELS[1], &M2, &M1)] {
        std::thread::spawn(move || {
            unsafe { workload_enter(label.as_ptr() as *const c_char) };
            transfer(from, to, both_hold_one);
        });
    }
    unsafe {
        workload_report(2);
        workload_stay();
    }
}
