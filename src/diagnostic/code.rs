//! The table of everything that a diagnostic can be.

use super::Severity;

/// What is known of one kind of diagnostic.
#[derive(Debug)]
pub struct CodeInfo {
    /// Stable identifier, `BS` and three digits. The hundreds are families: 0 the file, 1 the top level and its shape,
    /// 2 environment, 3 phases, 4 artifacts, 5 reports, 6 cache, 7 batch, 9 what this program does not do.
    pub id: &'static str,
    /// Readable name, for people and for ignore comments.
    pub name: &'static str,
    /// How bad it usually is.
    pub severity: Severity,
    /// Why it matters: what CodeBuild does with such a file, or what goes wrong later.
    pub why: &'static str,
}

macro_rules! codes {
    ($($variant:ident $id:literal $name:literal $severity:ident $why:literal;)*) => {
        /// A kind of diagnostic. [`Code::info`] has what there is to know of it; `spec/diagnostics.md` shows each one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $(#[doc = concat!("`", $id, "` ", $name, ": ", $why)] $variant,)* }

        impl Code {
            /// Every kind, in the order of its identifier.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The row of the table.
            #[must_use]
            pub const fn info(self) -> &'static CodeInfo {
                match self {
                    $(Self::$variant => &CodeInfo {
                        id: $id,
                        name: $name,
                        severity: Severity::$severity,
                        why: $why,
                    },)*
                }
            }
        }
    };
}

codes! {
    YamlSyntax "BS001" "yaml-syntax" Error
        "CodeBuild fails the build in DOWNLOAD_SOURCE before anything runs.";
    DuplicateKey "BS002" "duplicate-key" Error
        "One of the two would be dropped without a word, and with it the commands in it.";
    Encoding "BS003" "encoding" Error
        "A buildspec is UTF-8; other encodings do not parse.";
    UnknownDirective "BS004" "unknown-directive" Warning
        "A comment for the runner that it does not understand hides nothing.";
    UnusedIgnore "BS005" "unused-ignore" Warning
        "A comment that hides nothing is left over from something that was mended, and may hide the next mistake.";
    FileName "BS006" "file-name" Info
        "CodeBuild looks for `buildspec.yml`; a file of any other name has to be named in the project or by who starts the build.";
    Yaml11Boolean "BS007" "yaml-1-1-boolean" Warning
        "CodeBuild documents `yes` and `no`, in a batch `true` and `false`; other words are flags to some readers and plain text to others.";
    AnchorsAndMerge "BS008" "anchors-and-merge" Info
        "Aliases and merge keys are resolved here; that CodeBuild does the same with merge keys is documented nowhere.";
    MultiDocument "BS009" "multi-document" Warning
        "Only the first document of a file is used.";
    FileTooLarge "BS010" "file-too-large" Warning
        "A buildspec that is part of a project or of a request has to fit into one call to AWS, and nobody can review a file of this size.";
    UnknownTag "BS011" "unknown-tag" Error
        "Tags such as `!Sub` belong to templates; CodeBuild does not resolve them.";
    LimitExceeded "BS012" "limit-exceeded" Error
        "Size, nesting and alias expansion are bounded so that no file can exhaust the machine.";
    NotABuildspec "BS013" "not-a-buildspec" Error
        "Other programs have files of this name or kind; CodeBuild finds nothing to run in them.";
    Configuration "BS014" "configuration" Error
        "A `runner.toml` that is half understood would hide findings or fail builds for reasons nobody sees.";
    VersionMissing "BS101" "version-missing" Error
        "CodeBuild needs the version to know how commands share their shell state.";
    Version01 "BS102" "version-0-1" Warning
        "In version 0.1 each command has a shell of its own: a directory or a variable that one command sets is gone in the next.";
    UnknownKey "BS103" "unknown-key" Warning
        "CodeBuild ignores the key and goes on, so whatever it was meant to do does not happen.";
    CommandNotString "BS104" "command-not-string" Error
        "CodeBuild fails the build in DOWNLOAD_SOURCE before anything runs.";
    CommandNull "BS105" "command-null" Info
        "An item without a text is accepted and does nothing.";
    CommandNumber "BS106" "command-number" Warning
        "A bare number is no text to YAML, and no program has such a name.";
    WrongType "BS107" "wrong-type" Error
        "The value cannot be what the key needs.";
    PhasesMissing "BS108" "phases-missing" Error
        "Without `phases` there is nothing to run; a build that runs nothing must not look like a success.";
    PhaseEmpty "BS109" "phase-empty" Warning
        "A phase without commands does nothing; the ones that were meant for it may stand elsewhere.";
    UnknownPhase "BS110" "unknown-phase" Error
        "CodeBuild fails the build in DOWNLOAD_SOURCE before anything runs.";
    RuntimeVersionsOutsideInstall "BS111" "runtime-versions-outside-install" Warning
        "CodeBuild reads `runtime-versions` in `install` only.";
    NoCommandsAnywhere "BS112" "no-commands-anywhere" Warning
        "A build that runs nothing ends as a success.";
    MisplacedSection "BS113" "misplaced-section" Error
        "Below `phases` CodeBuild takes a section for a phase and fails the build in DOWNLOAD_SOURCE; anywhere else it does not look for one, and ignores it.";
    UnsupportedVersion "BS115" "unsupported-version" Error
        "Only 0.1 and 0.2 exist.";
    HardcodedAccessKey "BS201" "hardcoded-access-key" Warning
        "Whoever can read the repository, or the log, has the key, also long after it was taken out of the file.";
    HardcodedSecret "BS202" "hardcoded-secret" Warning
        "Whoever can read the repository can read it, values of variables are shown in the console, and nothing masks them in the log.";
    ReservedPrefix "BS203" "reserved-prefix" Warning
        "Names that begin with `CODEBUILD_` belong to CodeBuild; where it sets one, its own value wins.";
    OverridesPath "BS204" "overrides-path" Warning
        "CodeBuild does not expand the value, so `PATH` is exactly this text and most commands are not found.";
    VariableExpansion "BS205" "variable-expansion" Warning
        "CodeBuild passes the text on as it is; a shell does not expand again what comes out of a variable.";
    InvalidEnvName "BS206" "invalid-env-name" Warning
        "A shell cannot read such a variable and drops it.";
    SecretRefShape "BS207" "secret-ref-shape" Warning
        "The build fails in DOWNLOAD_SOURCE when the reference is resolved.";
    SecretArnSuffix "BS208" "secret-arn-suffix" Warning
        "An ARN without its suffix is not resolved in other accounts, and may match a secret whose name only begins like this.";
    ParameterNameShape "BS209" "parameter-name-shape" Warning
        "Parameter Store refuses such names, so the build fails in DOWNLOAD_SOURCE when the parameter is fetched.";
    DuplicateEnvAcrossMaps "BS210" "duplicate-env-across-maps" Warning
        "Only one of the values reaches the build: secrets-manager over parameter-store over variables.";
    ExportedUndefined "BS211" "exported-undefined" Warning
        "Whoever waits for the variable gets nothing, and the build does not fail.";
    ExportedSecret "BS212" "exported-secret" Warning
        "Exported values are stored with the build and shown in the console unmasked; names of AWS are not exported at all.";
    SecretEchoed "BS213" "secret-echoed" Warning
        "Only the exact value is masked in the log, and only in CodeBuild; one that is printed for no purpose is best not printed.";
    SecretTransformed "BS214" "secret-transformed" Warning
        "Only the exact value is masked in the log: encoded, cut or reversed it can be read by everyone who sees the log.";
    SecretOnCommandLine "BS215" "secret-on-command-line" Warning
        "Arguments are seen by every process of the machine, and turn up in traces and crash reports.";
    SetXWithSecrets "BS216" "set-x-with-secrets" Warning
        "With `-x` the shell prints each command with the values in it; only those that stand there unchanged are masked.";
    UnknownShell "BS217" "unknown-shell" Error
        "The commands would be run by a program that CodeBuild does not offer.";
    GitCredentialHelperValue "BS218" "git-credential-helper-value" Info
        "Other words for it work as far as is known, and CodeBuild documents only these two.";
    UnusedSecret "BS219" "unused-secret" Info
        "Each one is a request that can fail the build before its first command.";
    EnvironmentPrinted "BS220" "environment-printed" Info
        "All variables are in the log, secrets with them: fetched ones are masked where they stand unchanged, written ones not at all.";
    Shellcheck "BS301" "shellcheck" Warning
        "ShellCheck reads all commands of the file as the shell will; each of its findings has a page of its own that says why.";
    ShellSyntax "BS302" "shell-syntax" Warning
        "The shell refuses the command, or takes in what CodeBuild adds behind it.";
    SplitCompound "BS303" "split-compound" Warning
        "Each item of the list is run by a shell of its own, which refuses half a statement.";
    PipeHidesFailure "BS304" "pipe-hides-failure" Warning
        "The status of a pipe is that of its last program, so the build goes on after a failure in front of it.";
    OrTrue "BS305" "or-true" Info
        "The build is green whatever happens here, so nobody looks.";
    BashismInSh "BS306" "bashism-in-sh" Warning
        "Without `env.shell`, commands are read by `/bin/sh`: dash in the Ubuntu images, Bash in those of Amazon Linux. What works in one fails in the other.";
    BackgroundProcess "BS307" "background-process" Info
        "Each item has a shell of its own: the next one neither waits for such a process nor learns how it ended.";
    ExitInCommand "BS308" "exit-in-command" Warning
        "`exit 0` ends one item and neither the phase nor the build; variables and the directory that the item set are lost.";
    CdLeaks "BS309" "cd-leaks" Warning
        "The directory stays for the following commands and phases, so a relative path means something else the second time.";
    OnFailureValue "BS310" "on-failure-value" Error
        "The value is none of ABORT, CONTINUE, RETRY, RETRY-count, RETRY-regex and RETRY-count-regex.";
    OnFailureRegex "BS311" "on-failure-regex" Error
        "The pattern of a retry has to be a regular expression.";
    ContinueThenPush "BS313" "continue-then-push" Warning
        "With `on-failure: CONTINUE`, later phases run on what a failed one left behind, and publish it.";
    PostBuildWithoutGuard "BS314" "post-build-without-guard" Warning
        "`post_build` runs after a failed `build` too, so that something old, half done or empty is deployed.";
    FinallyHasRequiredWork "BS315" "finally-has-required-work" Warning
        "`finally` runs whether or not the commands succeeded: what it publishes may be the result of a failure.";
    InteractiveCommand "BS316" "interactive-command" Warning
        "There is no terminal and no input: the program ends without having done anything, or waits until the build times out.";
    MissingScript "BS324" "missing-script" Warning
        "The shell ends with status 127, and the build has failed, when a script is not where it is called.";
    NotExecutable "BS325" "not-executable" Warning
        "The shell ends with status 126 when a script that is called by its path may not be executed.";
    CrlfScript "BS326" "crlf-script" Warning
        "A carriage return at the end of a line belongs to the last word for a shell, and to the name of the interpreter for the system.";
    DeprecatedGetLogin "BS328" "deprecated-get-login" Warning
        "`aws ecr get-login` ended with version 1 of the AWS command line; today's images have version 2.";
    FilesMissing "BS401" "files-missing" Error
        "An artifact needs `files`; without them there is nothing to store.";
    GlobWithoutQuotes "BS402" "glob-without-quotes" Error
        "To YAML a leading `*` begins an alias, so CodeBuild fails the build in DOWNLOAD_SOURCE before anything runs.";
    DirectoryWithoutGlob "BS403" "directory-without-glob" Warning
        "Only files are stored: an entry that names a directory selects nothing.";
    AbsoluteOrParentPath "BS404" "absolute-or-parent-path" Warning
        "Under which path CodeBuild stores a file from outside of the base directory is written nowhere.";
    BaseDirectoryRepeats "BS405" "base-directory-repeats" Warning
        "`files` begin below `base-directory`; with the directory's name in both, the pattern looks for it twice.";
    DiscardPathsCollision "BS406" "discard-paths-collision" Warning
        "With `discard-paths` only one of several files with the same name is kept.";
    ExcludeEverything "BS407" "exclude-everything" Warning
        "When `exclude-paths` takes everything that `files` selects, nothing is left, and the build fails in UPLOAD_ARTIFACTS.";
    NameNotShellSafe "BS409" "name-not-shell-safe" Warning
        "The build's shell evaluates the name of an artifact after the last command, and what it cannot read has no value.";
    TooBroad "BS411" "too-broad" Info
        "Everything below the source directory is stored, also what package managers brought: tens of thousands of files.";
    SecondaryIdShape "BS412" "secondary-id-shape" Error
        "Artifact identifiers are letters, digits, underscores and hyphens.";
    NothingCanMatch "BS415" "nothing-can-match" Warning
        "A pattern that matches nothing is skipped without a failure as long as another one matches.";
    NonAsciiName "BS416" "non-ascii-name" Info
        "Some images have no UTF-8 locale, and tools in them cannot handle such names.";
    ReportFilesMissing "BS501" "report-files-missing" Error
        "A report group needs `files`.";
    ReportFormatUnknown "BS502" "report-format-unknown" Warning
        "A report in a format that CodeBuild does not know cannot be shown.";
    ReportFormatExtension "BS503" "report-format-extension" Warning
        "Files that are not in the format of their group make an incomplete report.";
    TooManyReportGroups "BS504" "too-many-report-groups" Warning
        "A project has five report groups at most.";
    ReportGroupArn "BS505" "report-group-arn" Warning
        "A group that is named by something like an ARN is not found.";
    ReportAndArtifactSameDir "BS506" "report-and-artifact-same-dir" Info
        "Reports are uploaded by themselves; in the artifact they are stored once more.";
    CachePathsMissing "BS601" "cache-paths-missing" Warning
        "CodeBuild skips a cache without `paths`.";
    CacheTooBroad "BS602" "cache-too-broad" Warning
        "A cache of a whole home or system directory takes longer than it saves, and brings old state back.";
    FallbackWithoutKey "BS603" "fallback-without-key" Warning
        "`fallback-keys` are ignored without `key`.";
    TooManyFallbackKeys "BS604" "too-many-fallback-keys" Error
        "At most five fallback keys are tried.";
    CacheActionValue "BS605" "cache-action-value" Error
        "`action` is `restore` or `save`; leave it out for both.";
    CacheKeyConstant "BS606" "cache-key-constant" Warning
        "What is cached under a key is written once and never again: with a key that never changes the cache stays as it first was.";
    CacheContainsSecrets "BS607" "cache-contains-secrets" Warning
        "Whoever may read the cache gets the credentials in it, and later builds use old ones.";
    CacheAndArtifactOverlap "BS608" "cache-and-artifact-overlap" Info
        "The same files are stored in the cache and in the artifact, at the end of every build.";
    BatchKindConflict "BS701" "batch-kind-conflict" Warning
        "A batch has one strategy: build-list, build-graph, build-matrix or build-fanout.";
    BatchIdentifierShape "BS702" "identifier-shape" Warning
        "A batch build is refused when an identifier is not letters, digits and underscores, or is too long.";
    BatchIdentifierDuplicate "BS703" "identifier-duplicate" Warning
        "Builds of a batch are told apart by their identifiers; a batch with the same one twice is refused.";
    DependsOnUnknown "BS704" "depends-on-unknown" Warning
        "A batch is refused when a build waits for one that does not exist.";
    DependsOnCycle "BS705" "depends-on-cycle" Warning
        "A batch is refused when builds wait for one another.";
    MatrixEmptyAxis "BS706" "matrix-empty-axis" Warning
        "A matrix has as many builds as its lists multiply to; with an empty list there is none.";
    MatrixExplosion "BS707" "matrix-explosion" Warning
        "All builds of a matrix start at once, and a batch may have 100 of them unless its project allows more.";
    NestedBatch "BS708" "nested-batch" Warning
        "A build of a batch is an ordinary build: a `batch` in its own buildspec is not looked at.";
    BuildspecMissing "BS709" "buildspec-missing" Warning
        "A build of a batch whose buildspec is not in the source fails in DOWNLOAD_SOURCE.";
    UnknownCompute "BS710" "unknown-compute" Warning
        "A build of a batch is refused when its compute or environment type does not exist.";
    IgnoreFailureWithDependants "BS711" "ignore-failure-with-dependants" Info
        "A build whose failure is ignored counts as done, so those that wait for it start after its failure too.";
    FanoutWithoutTestCommand "BS712" "fanout-without-test-command" Warning
        "All builds of a fan-out run the same commands; only `codebuild-tests-run` gives each of them its share of the tests.";
    EnvShadowing "BS713" "env-shadowing" Info
        "The variables of a build of a batch win over those that the buildspec itself sets.";
    PushBeforeLogin "BS802" "push-before-login" Warning
        "ECR refuses a push by whom it does not know, after the image was built.";
    LoginRegionMismatch "BS803" "login-region-mismatch" Warning
        "A login is good for one registry; the one of another region refuses it.";
    LatestOnly "BS804" "latest-only" Warning
        "Behind `latest` is another image after every build, so that nobody can tell what runs, nor bring the last one back.";
    ImagedefinitionsShape "BS805" "imagedefinitions-shape" Warning
        "The file would be stored as it is, and the ECS deploy action fail over it a stage later.";
    ImagedefinitionsNotArtifact "BS806" "imagedefinitions-not-artifact" Warning
        "What is no artifact ends with the build, and the deploy action does not find it.";
    ImagedefinitionsForBlueGreen "BS807" "imagedefinitions-for-blue-green" Warning
        "A blue/green deployment takes its image from `imageDetail.json` and fails without that file.";
    ImagedetailShape "BS808" "imagedetail-shape" Warning
        "The file would be stored as it is, and the blue/green deploy action fail over it a stage later.";
    AppspecOrTaskdefMissing "BS809" "appspec-or-taskdef-missing" Warning
        "A blue/green deployment reads an AppSpec and a task definition; one without the other is of no use.";
    PlaceholderUnused "BS810" "placeholder-unused" Warning
        "The deployment succeeds and brings the image that was there before.";
    MutableTagInDeploy "BS811" "mutable-tag-in-deploy" Warning
        "When a task is replaced later it gets what `latest` is then, which nobody deployed.";
    ImageDefinitions "BS820" "image-definitions" Error
        "The ECS deploy action reads an array of objects with `name` and `imageUri`, and fails the stage over anything else.";
    ImageDetail "BS821" "image-detail" Error
        "A blue/green deployment reads one object with `ImageURI`, and fails the stage over anything else.";
    AppSpec "BS822" "appspec" Error
        "CodeDeploy refuses an AppSpec without the parts it needs, a whole build after it was written.";
    TaskDefinition "BS823" "task-definition" Error
        "ECS refuses to register such a task definition, and the deployment ends before it began.";
    DeployFilesDoNotFit "BS824" "deploy-files-do-not-fit" Error
        "The files of a deployment name each other's containers, ports and placeholders; what is not there cannot be deployed.";
    UnsupportedHere "BS901" "unsupported-here" Warning
        "The key is CodeBuild's, and this version of the runner does not do what it asks for.";
    RuntimeVersionsHost "BS902" "runtime-versions-host" Warning
        "CodeBuild's images bring the versions along; on one's own machine the tools on PATH are used, whatever their version.";
    CuratedImageName "BS903" "curated-image-name" Info
        "CodeBuild's own images are not used here: commands run on the machine itself, with what is installed there.";
    MetadataEndpoint "BS904" "metadata-endpoint" Warning
        "These addresses answer on some machines of AWS and nowhere else; a request to them hangs or fails.";
    AbsoluteCodebuildPath "BS905" "absolute-codebuild-path" Warning
        "The directory has another name in every build, and does not exist on other machines.";
    HostMutation "BS908" "host-mutation" Warning
        "CodeBuild throws its machine away after the build; one's own keeps every change, and needs the rights for it.";
    CodebuildOnlyCommand "BS909" "codebuild-only-command" Warning
        "The program is part of CodeBuild's images; elsewhere the shell does not find it and the command fails.";
    ProxySectionIgnored "BS910" "proxy-section-ignored" Info
        "Artifacts and logs go through a proxy only where variables name one, artifacts only on their way to S3, and logs only if an agent sends them.";
}

impl Code {
    /// Stable identifier, such as `BS104`.
    #[must_use]
    pub const fn id(self) -> &'static str {
        self.info().id
    }

    /// The kind with this name or id.
    #[must_use]
    pub fn find(name_or_id: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|code| code.name() == name_or_id || code.id() == name_or_id)
    }

    /// Readable name, such as `command-not-string`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.info().name
    }

    /// How bad it usually is.
    #[must_use]
    pub const fn severity(self) -> Severity {
        self.info().severity
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_are_in_order_and_names_are_unique() {
        let ids: Vec<_> = Code::ALL.iter().map(|code| code.id()).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(ids, sorted);

        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn every_row_is_worded_as_the_others() {
        for code in Code::ALL {
            let info = code.info();
            assert!(
                info.id.len() == 5 && info.id.starts_with("BS"),
                "{}",
                info.id
            );
            assert!(
                info.name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit()),
                "{}",
                info.name
            );
            assert!(info.why.ends_with('.'), "{}: why is a sentence", info.id);
        }
    }
}
