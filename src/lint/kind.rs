//! What a file is, by its name.

use std::path::Path;

/// A kind of file that can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// A buildspec.
    Buildspec,
    /// `imagedefinitions.json`, for the ECS deploy action.
    ImageDefinitions,
    /// `imageDetail.json`, for blue/green deployments.
    ImageDetail,
    /// `appspec.yaml`, what CodeDeploy deploys and where.
    AppSpec,
    /// `taskdef.json`, a task definition of ECS.
    TaskDefinition,
}

impl FileKind {
    /// What a file of this name is. A name that says nothing is taken for a buildspec's: whoever names a file wants it
    /// checked, and buildspecs have names of all kinds.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        match name.as_ref() {
            "imageDetail.json" => Self::ImageDetail,
            "taskdef.json" => Self::TaskDefinition,
            // The action takes any name; those with a prefix are for pipelines with several services.
            name if name.ends_with("imagedefinitions.json") => Self::ImageDefinitions,
            // In any casing it was meant as one, and is certainly nothing else.
            name if ["yml", "yaml", "json"]
                .iter()
                .any(|kind| name.eq_ignore_ascii_case(&format!("appspec.{kind}"))) =>
            {
                Self::AppSpec
            }
            _ => Self::Buildspec,
        }
    }

    /// What a file in a folder is, if it is one that is looked for there.
    #[must_use]
    pub fn in_folder(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_lowercase();
        let is_yaml = path.extension().is_some_and(|kind| {
            kind.eq_ignore_ascii_case("yml") || kind.eq_ignore_ascii_case("yaml")
        });
        match Self::of(path) {
            Self::Buildspec => (name.contains("buildspec") && is_yaml).then_some(Self::Buildspec),
            deploy => Some(deploy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_files_are() {
        for (path, kind, in_folder) in [
            ("a/buildspec-arm.YML", FileKind::Buildspec, true),
            ("ci.yml", FileKind::Buildspec, false),
            ("a/imagedefinitions.json", FileKind::ImageDefinitions, true),
            (
                "web-imagedefinitions.json",
                FileKind::ImageDefinitions,
                true,
            ),
            ("imageDetail.json", FileKind::ImageDetail, true),
            ("b/appspec.yaml", FileKind::AppSpec, true),
            ("AppSpec.YML", FileKind::AppSpec, true),
            ("my-appspec.yml", FileKind::Buildspec, false),
            ("taskdef.json", FileKind::TaskDefinition, true),
            ("taskdef.json.orig", FileKind::Buildspec, false),
        ] {
            assert_eq!(FileKind::of(Path::new(path)), kind, "{path}");
            let found = FileKind::in_folder(Path::new(path));
            assert_eq!(found, in_folder.then_some(kind), "{path}");
        }
    }
}
