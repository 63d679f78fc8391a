//! The runtime that serves gRPC, and the thread that drives it.
//!
//! The tasks of a runtime run on the thread that waits in it. That can be the thread that reads, so that one
//! thread has both to do, or another one. tokio lets only one thread at a time drive a runtime for a single
//! thread; others that wait in it take over when that one leaves.

use crate::system::{memory, sync::Notify, thread};
use nix::time::ClockId;
use std::{
    io,
    sync::{
        Arc, Condvar, Mutex, Once, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use tokio::runtime::{Handle, Runtime};

/// The name of the other thread.
const NAME: &str = "grpc";

/// If the thread works for this time before it sleeps again, the runtime's tasks are taking long. It is
/// processor time: on a busy machine the thread may be interrupted for longer.
const HIGH_LOAD: Duration = Duration::from_millis(1);

/// Tasks that run before the runtime checks for events. The worker's output waits for them.
const TASKS_BETWEEN_LOOKS: u32 = 8;

/// How long another thread drives the runtime at least. Changing between the threads costs about as much as
/// an event.
const APART: Duration = Duration::from_millis(200);

/// The same at most: after each time that tasks took long it is twice as long.
const MAX_APART: Duration = Duration::from_secs(60);

/// How often the processor time is measured after the thread did not sleep for long.
const MEASURED: u32 = 100;

/// Whether the runtime's tasks take long.
#[derive(Debug)]
pub struct Load {
    started: Instant,
    /// When the thread woke last, in nanoseconds since `started`.
    woken_ns: AtomicU64,
    /// The processor time of the thread then, if it is measured.
    used_ns: AtomicU64,
    /// How often it is still to be measured. That takes a system call.
    measured: AtomicU32,
    is_high: AtomicBool,
}

impl Load {
    fn new() -> Arc<Self> {
        let [woken_ns, used_ns] = Default::default();
        let (measured, is_high) = Default::default();
        Arc::new(Self { started: Instant::now(), woken_ns, used_ns, measured, is_high })
    }

    fn wakes(&self) {
        let measured = self.measured.load(Relaxed);
        if measured > 0 {
            self.measured.store(measured - 1, Relaxed);
            self.used_ns.store(thread_time_ns(), Relaxed);
        }
        self.woken_ns.store(nanoseconds(self.started.elapsed()), Relaxed);
    }

    fn sleeps(&self) {
        let awake_ns = nanoseconds(self.started.elapsed()).saturating_sub(self.woken_ns.load(Relaxed));
        if awake_ns < nanoseconds(HIGH_LOAD) {
            return;
        }
        let is_measured = self.measured.swap(MEASURED, Relaxed) > 0;
        let used_ns = thread_time_ns().saturating_sub(self.used_ns.load(Relaxed));
        if is_measured && used_ns >= nanoseconds(HIGH_LOAD) {
            self.is_high.store(true, Relaxed);
        }
    }

    /// Whether they took long since the [reset](Self::reset).
    pub fn is_high(&self) -> bool {
        self.is_high.load(Relaxed)
    }

    /// Begins a new measurement.
    pub fn reset(&self) {
        self.wakes();
        self.is_high.store(false, Relaxed);
    }
}

/// The processor time that this thread has used, in nanoseconds; 0 if the system does not say.
fn thread_time_ns() -> u64 {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().map_or(Duration::ZERO, Duration::from);
    nanoseconds(time)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The thread that drives the runtime while the one that reads does not.
#[derive(Debug, Default)]
struct Other {
    is_wanted: Mutex<bool>,
    wanted: Condvar,
    /// Notifies its task that it is not wanted any more.
    unwanted: Notify,
}

impl Other {
    fn is_wanted(&self) -> bool {
        *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_wanted(&self, wanted: bool) {
        *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner) = wanted;
        if wanted {
            self.wanted.notify_one();
        } else {
            self.unwanted.notify_waiters();
        }
    }

    fn run(&self, runtime: &Runtime) -> ! {
        loop {
            let guard = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
            drop(self.wanted.wait_while(guard, |wanted| !*wanted));
            runtime.block_on(async {
                loop {
                    let unwanted = self.unwanted.notified();
                    if !self.is_wanted() {
                        break;
                    }
                    unwanted.await;
                }
            });
        }
    }
}

/// The runtime and its threads.
#[derive(Debug)]
pub struct Driver {
    runtime: Arc<Runtime>,
    load: Arc<Load>,
    /// Started when it is needed first.
    other: Option<Arc<Other>>,
    /// Whether the other thread drives it always.
    is_fixed: bool,
    /// How long it drives it next.
    apart: Duration,
}

impl Driver {
    /// A runtime, which no thread drives yet.
    ///
    /// # Errors
    ///
    /// If the system refuses what it needs.
    pub fn new() -> io::Result<Self> {
        let load = Load::new();
        let (waking, sleeping) = (Arc::clone(&load), Arc::clone(&load));
        let started = Once::new();
        let runtime = thread::runtime()
            .enable_io()
            .enable_time()
            .event_interval(TASKS_BETWEEN_LOOKS)
            .on_thread_unpark(move || waking.wakes())
            .on_thread_park(move || {
                // Starting the server takes more of the stack than serving.
                started.call_once(memory::release_stack);
                sleeping.sleeps();
            })
            .build()?;
        Ok(Self { runtime: Arc::new(runtime), load, other: None, is_fixed: false, apart: APART })
    }

    /// Spawns tasks of the runtime.
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// Has another thread drive the runtime from now on, always.
    ///
    /// # Errors
    ///
    /// If the system refuses a thread.
    pub fn fix_apart(&mut self) -> io::Result<()> {
        self.is_fixed = true;
        self.other()?.set_wanted(true);
        Ok(())
    }

    /// Whether the calling thread may drive it.
    pub(super) fn can_share(&self) -> bool {
        !self.is_fixed
    }

    /// Has another thread drive the runtime while the calling one does not wait in it, or ends that. False if
    /// there is no other thread and the system refuses one.
    pub(super) fn set_apart(&mut self, apart: bool) -> bool {
        match &self.other {
            _ if self.is_fixed => {}
            Some(other) => other.set_wanted(apart),
            None if apart => match self.other() {
                Ok(other) => other.set_wanted(true),
                Err(error) => {
                    tracing::info!("one thread reads and serves: no other thread: {error}");
                    return false;
                }
            },
            None => {}
        }
        true
    }

    /// How long another thread is to drive it at least.
    pub(super) fn time_apart(&mut self) -> Duration {
        self.apart = if self.load.is_high() { MAX_APART.min(self.apart * 2) } else { APART };
        self.apart
    }

    /// Whether the tasks of the runtime take long.
    pub(super) fn load(&self) -> Arc<Load> {
        Arc::clone(&self.load)
    }

    /// Waits on the calling thread, which drives the runtime meanwhile if no other one does.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn other(&mut self) -> io::Result<&Other> {
        if self.other.is_none() {
            let other = Arc::<Other>::default();
            let (running, runtime) = (Arc::clone(&other), Arc::clone(&self.runtime));
            thread::spawn(NAME, move || running.run(&runtime))?;
            self.other = Some(other);
        }
        Ok(self.other.get_or_insert_default())
    }
}
