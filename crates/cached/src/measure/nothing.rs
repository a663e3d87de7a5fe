//! Nothing is measured.

#[derive(Debug)]
pub(crate) struct Measure;

impl Measure {
    pub(crate) fn of(_: &'static str) -> Self {
        Self
    }

    pub(crate) fn count(&self) {}
}
