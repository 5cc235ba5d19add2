//! When a status is shown, and how long an operation will still take.

use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use indicatif::ProgressBar;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

/// Calls somebody at an interval, and whenever SIGUSR1 asks for it, until it is dropped. After that
/// nobody is called any more: what is printed next is the last word.
#[derive(Debug)]
pub struct Pulse {
    task: JoinHandle<()>,
    /// Held during a call.
    beats: Arc<Mutex<bool>>,
}

impl Pulse {
    /// Starts. Without an interval only the signal counts.
    pub fn start<T: Send + Sync + 'static>(
        period: Option<Duration>,
        watched: &Arc<T>,
        show: fn(&T),
    ) -> Self {
        let (watched, beats) = (Arc::clone(watched), Arc::new(Mutex::new(true)));
        let still = Arc::clone(&beats);
        let task = tokio::spawn(async move {
            let mut request = signal(SignalKind::user_defined1()).ok();
            let mut ticks = period.map(interval);
            if let Some(ticks) = &mut ticks {
                ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
                // The first tick comes at once, before there is anything to show.
                ticks.tick().await;
            }
            loop {
                let tick = async {
                    match &mut ticks {
                        Some(ticks) => drop(ticks.tick().await),
                        None => pending().await,
                    }
                };
                let asked = async {
                    match &mut request {
                        Some(request) => drop(request.recv().await),
                        None => pending().await,
                    }
                };
                tokio::select! { () = tick => {}, () = asked => {} }
                let still = still.lock().unwrap_or_else(PoisonError::into_inner);
                if *still {
                    show(&watched);
                }
            }
        });
        Self { task, beats }
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        // A call on another thread goes on to its end, and is waited for.
        *self.beats.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.task.abort();
    }
}

/// Estimates how fast work is done, from what was done lately.
#[derive(Debug)]
pub struct Pace(ProgressBar);

impl Pace {
    /// Begins now.
    #[expect(clippy::new_without_default, reason = "it starts a clock")]
    pub fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Notes how much is done in all.
    pub fn done(&self, amount: u64) {
        self.0.set_position(amount);
    }

    /// How much is done in a second.
    pub fn per_second(&self) -> u64 {
        // Far below the largest u64 for anything a machine can do.
        self.0.per_sec() as u64
    }

    /// How long `remaining` more will take; nothing if there is no telling yet, or if it goes at a
    /// crawl (restic's limit: 1 KiB/s).
    pub fn time_for(&self, remaining: u64) -> Option<Duration> {
        let rate = self.0.per_sec();
        (rate > 1024.0).then(|| Duration::from_secs((remaining as f64 / rate) as u64))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nothing_is_shown_after_the_last_word() {
        let shown = Arc::new(AtomicU32::new(0));
        let slowly = |shown: &AtomicU32| {
            std::thread::sleep(Duration::from_millis(10));
            shown.fetch_add(1, Ordering::SeqCst);
        };
        for _ in 0..10 {
            let before = shown.load(Ordering::SeqCst);
            let pulse = Pulse::start(Some(Duration::from_millis(1)), &shown, slowly);
            while shown.load(Ordering::SeqCst) == before {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // The next one has begun, most likely.
            tokio::time::sleep(Duration::from_millis(5)).await;
            drop(pulse);
            let last = shown.load(Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert_eq!(shown.load(Ordering::SeqCst), last);
        }
    }

    #[test]
    fn nothing_is_promised_before_anything_is_done() {
        let pace = Pace::new();
        assert_eq!(pace.time_for(1 << 30), None);
        assert_eq!(pace.per_second(), 0);
    }

    #[test]
    fn work_done_makes_an_estimate() {
        let pace = Pace::new();
        for step in 1..=20u64 {
            std::thread::sleep(Duration::from_millis(5));
            pace.done(step << 20);
        }
        assert!(pace.per_second() > 0);
        assert!(pace.time_for(1 << 40).is_some_and(|time| time > Duration::ZERO));
    }
}
