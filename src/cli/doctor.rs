//! `runner doctor`
use super::args::DoctorArgs;
use crate::build::ExitCode;
pub(super) fn doctor(_args: &DoctorArgs) -> ExitCode {
    ExitCode::Fault
}
