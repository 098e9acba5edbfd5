//! The place that this process was told to die at.

use super::{CrashPoint, Place, SETTING};
use crate::settings::SettingError;
use std::sync::{
    OnceLock,
    atomic::{AtomicU32, Ordering},
};

struct Armed {
    place: Place,
    /// Passings until then, that one included.
    left: AtomicU32,
}

static ARMED: OnceLock<Armed> = OnceLock::new();

pub(super) fn arm(setting: Option<String>) -> Result<(), SettingError> {
    let Some(value) = setting else { return Ok(()) };
    let Some(armed) = read(&value) else {
        let expected = "role.point or role.point:n of a crash point (chassis: crash/points.rs)";
        return Err(SettingError::Invalid { key: SETTING, value, expected });
    };
    // a second time in one process is a second role of it: the place is the same
    let _ = ARMED.set(armed);
    Ok(())
}

fn read(setting: &str) -> Option<Armed> {
    let (place, left) = match setting.split_once(':') {
        Some((place, left)) => (place, left.parse().ok().filter(|left| *left > 0)?),
        None => (setting, 1),
    };
    Some(Armed { place: place.parse().ok()?, left: AtomicU32::new(left) })
}

pub(super) fn pass(role: &str, point: CrashPoint) {
    let Some(armed) = ARMED.get().filter(|armed| armed.place.role == role && armed.place.point == point)
    else {
        return;
    };
    if armed.left.fetch_sub(1, Ordering::Relaxed) == 1 {
        eprintln!("crash point {}", armed.place);
        std::process::abort();
    }
}
