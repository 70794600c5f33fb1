//! Where AWS describes what a finding is about.

use super::Code;

const BUILDSPEC: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/build-spec-ref.html";
const SHELLS: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-cmd.html";
const TRANSITIONS: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/view-build-details-phases.html";
const VARIABLES: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-env-vars.html";
const RUNTIMES: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/runtime-versions.html";
const IMAGES: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/build-env-ref-available.html";
const BATCH: &str =
    "https://docs.aws.amazon.com/codebuild/latest/userguide/batch-build-buildspec.html";
const LOGIN: &str = "https://docs.aws.amazon.com/AmazonECR/latest/userguide/registry_auth.html";
const IMAGE_FILES: &str =
    "https://docs.aws.amazon.com/codepipeline/latest/userguide/file-reference.html";
const BLUE_GREEN: &str =
    "https://docs.aws.amazon.com/codepipeline/latest/userguide/action-reference-ECSbluegreen.html";
const APPSPEC: &str =
    "https://docs.aws.amazon.com/codedeploy/latest/userguide/reference-appspec-file.html";
const TASKS: &str =
    "https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task_definition_parameters.html";

impl Code {
    /// The page of AWS's documentation about what such a finding is about; none where AWS has nothing to say of it,
    /// as of YAML, of shells in general and of this program.
    #[must_use]
    pub fn page(self) -> Option<&'static str> {
        match self {
            Self::FileName | Self::ProxySectionIgnored => Some(BUILDSPEC),
            Self::ReservedPrefix | Self::AbsoluteCodebuildPath => Some(VARIABLES),
            Self::CdLeaks | Self::ExitInCommand | Self::BackgroundProcess | Self::SplitCompound => {
                Some(SHELLS)
            }
            Self::OnFailureValue | Self::OnFailureRegex | Self::FinallyHasRequiredWork => {
                Some(BUILDSPEC)
            }
            Self::ContinueThenPush | Self::PostBuildWithoutGuard => Some(TRANSITIONS),
            Self::RuntimeVersionsOutsideInstall | Self::RuntimeVersionsHost => Some(RUNTIMES),
            Self::CuratedImageName => Some(IMAGES),
            Self::DeprecatedGetLogin | Self::PushBeforeLogin | Self::LoginRegionMismatch => {
                Some(LOGIN)
            }
            Self::ImagedefinitionsShape
            | Self::ImagedefinitionsNotArtifact
            | Self::ImagedefinitionsForBlueGreen
            | Self::ImagedetailShape
            | Self::ImageDefinitions
            | Self::ImageDetail => Some(IMAGE_FILES),
            Self::AppspecOrTaskdefMissing | Self::PlaceholderUnused | Self::DeployFilesDoNotFit => {
                Some(BLUE_GREEN)
            }
            Self::AppSpec => Some(APPSPEC),
            Self::TaskDefinition => Some(TASKS),
            Self::NotABuildspec => Some(BUILDSPEC),
            _ => self.page_of_family(),
        }
    }

    /// The page for families in which nearly all is about the buildspec's keys.
    fn page_of_family(self) -> Option<&'static str> {
        match self.id().as_bytes().get(2)? {
            b'1' | b'2' | b'4' | b'5' | b'6' => Some(BUILDSPEC),
            b'7' => Some(BATCH),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // LINT-52
    #[test]
    fn a_page_is_an_address_that_can_be_opened() {
        let pages: Vec<&str> = Code::ALL.iter().filter_map(|code| code.page()).collect();
        assert!(!pages.is_empty());
        for page in pages {
            assert!(page.starts_with("https://docs.aws.amazon.com/"), "{page}");
        }
        assert_eq!(Code::UnknownKey.page(), Some(BUILDSPEC));
        assert_eq!(Code::YamlSyntax.page(), None);
        assert_eq!(Code::Shellcheck.page(), None);
    }
}
