//! A limit on the bandwidth a repository may use.

use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::{Backend, BackendError, Extent, FileInfo, Properties};
use crate::handle::{FileType, Handle};

/// How much goes out at once, ahead of the rate, after a pause.
const BURST: Duration = Duration::from_millis(250);

/// How much one transfer asks for at a time. The smaller, the more evenly transfers share the rate.
const TURN: Duration = Duration::from_millis(50);

/// Bytes a second; nothing for no limit, which costs nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rates {
    /// For what is saved.
    pub upload: Option<NonZeroU64>,
    /// For what is loaded.
    pub download: Option<NonZeroU64>,
}

impl Rates {
    /// From KiB a second, as restic's `--limit-upload` and `--limit-download` have them; 0 is no limit.
    pub const fn from_kib(upload: u64, download: u64) -> Self {
        Self {
            upload: NonZeroU64::new(upload.saturating_mul(1024)),
            download: NonZeroU64::new(download.saturating_mul(1024)),
        }
    }
}

/// Keeps what is saved and what is loaded below a rate each, over all transfers together. Clones share
/// the rates.
///
/// A transfer as such runs at full speed. A save waits first until all its bytes are paid for; a load
/// pays afterwards for what it gave, because only then is it known how much that is.
#[derive(Clone, Debug)]
pub struct Limit<B> {
    backend: B,
    upload: Option<Arc<Pace>>,
    download: Option<Arc<Pace>>,
}

impl<B: Backend> Limit<B> {
    /// Limits a backend to these rates.
    pub fn new(backend: B, rates: Rates) -> Self {
        let pace = |rate| Arc::new(Pace::new(rate));
        Self { backend, upload: rates.upload.map(pace), download: rates.download.map(pace) }
    }
}

#[async_trait]
impl<B: Backend> Backend for Limit<B> {
    fn properties(&self) -> Properties {
        self.backend.properties()
    }

    async fn create(&self) -> Result<(), BackendError> {
        self.backend.create().await
    }

    async fn load(&self, handle: &Handle, extent: Extent) -> Result<Bytes, BackendError> {
        let data = self.backend.load(handle, extent).await?;
        if let Some(pace) = &self.download {
            pace.pay(data.len() as u64).await;
        }
        Ok(data)
    }

    async fn save(&self, handle: &Handle, data: Bytes) -> Result<(), BackendError> {
        if let Some(pace) = &self.upload {
            pace.pay(data.len() as u64).await;
        }
        self.backend.save(handle, data).await
    }

    async fn stat(&self, handle: &Handle) -> Result<u64, BackendError> {
        self.backend.stat(handle).await
    }

    async fn list(&self, file_type: FileType) -> Result<Vec<FileInfo>, BackendError> {
        self.backend.list(file_type).await
    }

    async fn remove(&self, handle: &Handle) -> Result<(), BackendError> {
        self.backend.remove(handle).await
    }

    async fn free_space(&self) -> Result<Option<u64>, BackendError> {
        self.backend.free_space().await
    }
}

/// A rate that several transfers share fairly: they take turns, each for a small part of its bytes.
///
/// In no stretch of time are more bytes paid for than the rate allows for it and a burst of 250 ms.
#[derive(Debug)]
pub struct Pace {
    /// Bytes a second.
    rate: NonZeroU64,
    /// Until when the rate is used up by what has been paid for.
    used_up: Mutex<Instant>,
}

impl Pace {
    /// So many bytes a second.
    pub fn new(rate: NonZeroU64) -> Self {
        Self { rate, used_up: Mutex::new(Instant::now()) }
    }

    /// Waits until so many bytes may have passed. A caller that is dropped has used up only what it
    /// waited for, and at most one turn more.
    pub async fn pay(&self, bytes: u64) {
        let turn = (self.rate.get() / (1000 / TURN.as_millis() as u64)).max(1);
        let mut left = bytes;
        while left > 0 {
            let part = left.min(turn);
            let due = self.book(part);
            if due > Instant::now() {
                sleep_until(due).await;
            }
            left -= part;
        }
    }

    /// Takes bytes from the rate, and says from when on they may pass.
    fn book(&self, bytes: u64) -> Instant {
        let nanoseconds = (u128::from(bytes) * 1_000_000_000).div_ceil(u128::from(self.rate.get()));
        let cost = Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        let now = Instant::now();
        let mut used_up = self.used_up.lock().unwrap_or_else(PoisonError::into_inner);
        *used_up = (*used_up).max(now) + cost;
        used_up.checked_sub(BURST).unwrap_or(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::mem::Mem;
    use crate::backend::suite::Subject;
    use crate::id::Id;

    const MIB: u64 = 1 << 20;

    async fn subject() -> Subject {
        Subject::new(Arc::new(Limit::new(Mem::new(), Rates::from_kib(1 << 30, 1 << 30))))
    }

    crate::backend_suite!(subject);

    fn pack() -> (Handle, Bytes) {
        let data = Bytes::from(vec![7; 8 * MIB as usize]);
        (Handle::new(FileType::Pack, Id::of(&data)), data)
    }

    fn limited(upload_kib: u64, download_kib: u64) -> Limit<Mem> {
        Limit::new(Mem::new(), Rates::from_kib(upload_kib, download_kib))
    }

    /// That this long has passed, less the burst and more the timer's grain.
    fn assert_took(began: Instant, expected: Duration) {
        let allowed = expected - BURST..=expected + Duration::from_millis(10);
        assert!(allowed.contains(&began.elapsed()), "{:?}, not {expected:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn an_upload_takes_as_long_as_its_rate_says() {
        let limit = limited(1024, 0);
        let (handle, data) = pack();
        let began = Instant::now();
        limit.save(&handle, data.clone()).await.unwrap();
        assert_took(began, Duration::from_secs(8));

        let began = Instant::now();
        limit.load(&handle, Extent::Whole).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "downloads are not limited");
    }

    #[tokio::test(start_paused = true)]
    async fn a_download_takes_as_long_as_its_rate_says() {
        let limit = limited(0, 4096);
        let (handle, data) = pack();
        let began = Instant::now();
        limit.save(&handle, data).await.unwrap();
        assert_eq!(began.elapsed(), Duration::ZERO, "uploads are not limited");

        limit.load(&handle, Extent::Whole).await.unwrap();
        limit.load(&handle, Extent::Range { offset: 0, length: 4 * MIB as usize }).await.unwrap();
        assert_took(began, Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_saves_up_one_burst_and_no_more() {
        let pace = Pace::new(NonZeroU64::new(MIB).unwrap());
        pace.pay(MIB).await;
        tokio::time::sleep(Duration::from_secs(3600)).await;
        let began = Instant::now();
        pace.pay(MIB / 5).await;
        assert_eq!(began.elapsed(), Duration::ZERO);
        pace.pay(10 * MIB).await;
        assert_took(began, Duration::from_millis(10_200));
    }

    #[tokio::test(start_paused = true)]
    async fn a_small_transfer_does_not_wait_for_a_large_one() {
        let limit = limited(1024, 0);
        let large = tokio::spawn({
            let limit = limit.clone();
            async move { limit.save(&pack().0, pack().1).await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let began = Instant::now();
        let small = Handle::new(FileType::Lock, Id::of(b"small"));
        limit.save(&small, Bytes::from_static(b"small")).await.unwrap();
        assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
        large.await.unwrap().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn transfers_share_the_rate_evenly() {
        let pace = Arc::new(Pace::new(NonZeroU64::new(MIB).unwrap()));
        // Whoever came first would have the burst for himself.
        pace.pay(MIB / 4).await;
        let began = Instant::now();
        let transfers: Vec<_> = (0..4)
            .map(|_| {
                let pace = pace.clone();
                tokio::spawn(async move {
                    pace.pay(2 * MIB).await;
                    began.elapsed()
                })
            })
            .collect();
        for transfer in transfers {
            let took = transfer.await.unwrap();
            assert!((7800..=8010).contains(&took.as_millis()), "{took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_transfer_gives_its_share_back() {
        let pace = Pace::new(NonZeroU64::new(MIB).unwrap());
        let began = Instant::now();
        let second = Duration::from_secs(1);
        tokio::time::timeout(second, pace.pay(3600 * MIB)).await.unwrap_err();
        pace.pay(MIB).await;
        assert_took(began, 2 * second + TURN + BURST);
    }

    #[tokio::test(start_paused = true)]
    async fn any_rate_and_size_is_survived() {
        Pace::new(NonZeroU64::MAX).pay(u64::MAX).await;
        Pace::new(NonZeroU64::MIN).pay(3).await;
        assert_eq!(Rates::from_kib(0, 0), Rates::default());
        assert_eq!(Rates::from_kib(u64::MAX, 1).upload, Some(NonZeroU64::MAX));
    }
}
