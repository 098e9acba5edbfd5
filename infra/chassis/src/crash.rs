//! Places at which a test lets the process die, as `kill -9` does: at once, no destructor runs, nothing is flushed.
//!
//! Each durable step of a role (a commit, an acknowledgement, a delete) has a [`CrashPoint`] on either side. They are there
//! only in builds with the feature `crash-points`, which the tests of `infra/mambogo` turn on; elsewhere a call is an empty
//! function, and a process that is told to crash refuses to start.

mod points;

#[cfg(feature = "crash-points")]
mod armed;

pub use points::{CrashPoint, Place};

use crate::settings::{Environment, SettingError};

/// The setting that arms a place: `role.point`, or `role.point:n` for its n-th passing.
pub const SETTING: &str = "CRASH_AT";

/// Passes a point of a role that is the only one to have it.
#[inline]
pub fn point(point: CrashPoint) {
    for role in point.roles().iter().take(1) {
        point_of(role, point);
    }
}

/// Passes a point of that role: dies there, if the process was told to.
#[cfg(feature = "crash-points")]
pub fn point_of(role: &str, point: CrashPoint) {
    armed::pass(role, point);
}

/// Passes a point of that role: nothing, in this build.
#[cfg(not(feature = "crash-points"))]
#[inline]
pub const fn point_of(_role: &str, _point: CrashPoint) {}

/// Reads `CRASH_AT` and arms the place it names, if any; says in the log that this build can crash.
///
/// # Errors
/// [`SettingError`] for a place that there is not.
#[cfg(feature = "crash-points")]
pub fn arm(environment: &Environment) -> Result<(), SettingError> {
    tracing::warn!("this build has crash points: it is for tests, never for production");
    armed::arm(environment.text(SETTING))
}

/// Makes sure that nobody expects a crash of a build that has no crash points.
///
/// # Errors
/// [`SettingError`] when `CRASH_AT` is set.
#[cfg(not(feature = "crash-points"))]
pub fn arm(environment: &Environment) -> Result<(), SettingError> {
    let expected = "for this build: it has no crash points (feature crash-points); unset it";
    environment
        .text(SETTING)
        .map_or(Ok(()), |value| Err(SettingError::Invalid { key: SETTING, value, expected }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_there_is_not_is_refused_in_any_build() {
        let told = |place: &str| arm(&Environment::of([(SETTING.to_owned(), place.to_owned())]));
        for wrong in
            ["relay.commit.before", "commit.before", "orders.nowhere", "orders.commit.before:0", "orders"]
        {
            let error = told(wrong).unwrap_err().to_string();
            assert!(error.contains("CRASH_AT") && error.contains(wrong), "{error}");
        }
        assert_eq!(arm(&Environment::of([])), Ok(()));
    }
}
