//! Settings of the tests: production's, but for the soak where it is not what is tested.

use volume_core::settings::Settings;

/// Ten minutes of soak instead of an hour: nothing happens in it, and every second of it is looked at.
pub fn short_soak() -> Settings {
    Settings { soak_ms: 600_000, ..Settings::default() }
}

/// Ten seconds of soak, for tests of hundreds of changes.
pub fn hardly_any_soak() -> Settings {
    Settings { soak_ms: 10_000, ..Settings::default() }
}
