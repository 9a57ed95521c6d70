//! The stack's clock: which time it shows after a start, and the file from which the other processes take it.
//!
//! Simulated time stands still while the cloud is down, and it never goes back: not even behind what was shown between
//! the last save and a kill. Then it may jump, by no more than was possible since that save.

use std::fs;
use std::path::{Path, PathBuf};

use tiershift_common::clock::{Clock as _, Scaled, boottime_ms};

use super::error::{ServerError, io};

/// The longest that a saved time may lie behind the clock, in real ms: it is saved every second, and a busy machine may
/// be late with that.
const SAVED_BEHIND_MS: i64 = 5_000;

/// The clock as it was last saved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SavedTime {
    /// What it showed.
    pub(super) time_ms: i64,
    /// Whether it was stopped then; else it was killed later.
    pub(super) stopped: bool,
    /// Its speed.
    pub(super) speed: u32,
}

/// The file of the clock in a folder.
pub(super) fn file_in(data: &Path) -> PathBuf {
    data.join("clock.json")
}

/// What is in the clock's file, if there is one.
pub(super) fn read(file: &Path) -> Result<Option<Scaled>, ServerError> {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(format!("read {}", file.display()))(error)),
    };
    let unreadable = |source| ServerError::Unreadable { file: file.to_owned(), source };
    serde_json::from_slice(&text).map(Some).map_err(unreadable)
}

/// Puts a file in the place of another one, so that a reader sees the old or the new one, whole. It survives the end of
/// this process, which is what is asked for; it is not forced to the disk, for that would take longer than the calls.
pub(super) fn replace(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let new = file.with_extension("json.new");
    fs::write(&new, bytes)?;
    fs::rename(&new, file)
}

/// Writes the clock's file.
pub(super) fn write(file: &Path, clock: Scaled) -> Result<(), ServerError> {
    let text = serde_json::to_vec(&clock).map_err(ServerError::Unwritable)?;
    replace(file, &text).map_err(io(format!("write {}", file.display())))
}

/// The clock after a start. `left` is the file as the last run left it, `boot_ms` is CLOCK_BOOTTIME now.
pub(super) fn resumed(saved: SavedTime, left: Option<Scaled>, boot_ms: i64) -> Scaled {
    let SavedTime { time_ms, stopped, speed } = saved;
    let origin_ms = if stopped {
        time_ms
    } else {
        // It was killed some time after the save. What it can have shown by then is bounded twice.
        let by_save = time_ms + SAVED_BEHIND_MS * i64::from(speed);
        // A file of before a reboot says nothing, but the first bound holds.
        let by_clock = left.map(|clock| clock.origin_ms + (boot_ms - clock.boot_ms) * i64::from(clock.speed));
        by_clock.unwrap_or(by_save).clamp(time_ms, by_save)
    };
    Scaled { origin_ms, boot_ms, speed }
}

/// The clock that other processes of the stack go by, for a cloud that joins them again.
pub(super) fn shared(saved: SavedTime, left: Option<Scaled>, file: &Path) -> Result<Scaled, ServerError> {
    let fault = |why| ServerError::Clock { file: file.to_owned(), why };
    let clock = left.ok_or_else(|| fault("it is not there"))?;
    if clock.boot_ms > boottime_ms() {
        return Err(fault("it is of before the machine was booted"));
    }
    if clock.speed != saved.speed {
        return Err(fault("it has another speed than the folder"));
    }
    if clock.now().0 < saved.time_ms {
        return Err(fault("it lies behind the saved state"));
    }
    Ok(clock)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: SavedTime = SavedTime { time_ms: 1_000_000, stopped: false, speed: 10 };

    #[test]
    fn after_a_stop_time_has_stood_still() {
        let saved = SavedTime { stopped: true, ..KILLED };
        let left = Scaled { origin_ms: 0, boot_ms: 0, speed: 10 };
        assert_eq!(resumed(saved, Some(left), 70_000), Scaled { origin_ms: 1_000_000, boot_ms: 70_000, speed: 10 });
    }

    #[test]
    fn after_a_kill_time_is_not_behind_what_was_shown_and_not_far_ahead() {
        // At boot time 100,000 this clock shows what was saved.
        let left = Some(Scaled { origin_ms: 0, boot_ms: 0, speed: 10 });
        assert_eq!(resumed(KILLED, left, 100_500).origin_ms, 1_005_000, "half a second after the save");
        assert_eq!(resumed(KILLED, left, 900_000).origin_ms, 1_050_000, "long after it");
        assert_eq!(resumed(KILLED, left, 50).origin_ms, 1_000_000, "booted since");
        assert_eq!(resumed(KILLED, None, 100_500).origin_ms, 1_050_000, "without the file");
    }

    #[test]
    fn a_shared_clock_is_taken_as_it_is_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = file_in(folder.path());
        assert_eq!(read(&file).unwrap(), None);
        assert!(matches!(shared(KILLED, None, &file), Err(ServerError::Clock { .. })));
        let clock = Scaled { origin_ms: 2_000_000, boot_ms: boottime_ms(), speed: 10 };
        write(&file, clock).unwrap();
        assert_eq!(read(&file).unwrap(), Some(clock));
        assert_eq!(shared(KILLED, Some(clock), &file).unwrap(), clock);
        let wrong = [
            Scaled { boot_ms: clock.boot_ms + 1_000_000, ..clock },
            Scaled { speed: 11, ..clock },
            Scaled { origin_ms: 0, ..clock },
        ];
        for clock in wrong {
            assert!(matches!(shared(KILLED, Some(clock), &file), Err(ServerError::Clock { .. })), "{clock:?}");
        }
        fs::write(&file, "{").unwrap();
        assert!(matches!(read(&file), Err(ServerError::Unreadable { .. })));
    }
}
