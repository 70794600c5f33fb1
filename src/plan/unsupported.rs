//! What CodeBuild does and this version does not. Never a silent skip: refused where a build would go wrong without it,
//! said aloud everywhere else, and with `--strict` refused altogether (SPEC-22).

use super::request::{BuildRequest, NamespaceType, Runtimes, Users};
use crate::buildspec::Buildspec;
use crate::diagnostic::{Code, Diagnostic, Severity};
use crate::phase::CommandPhase;
use crate::source::Span;

/// What a request changes about that.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Given<'r> {
    /// The request; without one, nothing is given.
    pub(super) request: Option<&'r BuildRequest>,
}

impl Given<'_> {
    /// Whether commands can run as this user.
    fn can_be(self, user: &str) -> bool {
        self.request.is_some_and(|request| match &request.users {
            Users::Any => true,
            Users::Only(names) => names.iter().any(|name| name == user),
        })
    }

    /// Whether artifacts are stored with the id of the build in their path.
    pub(super) fn has_build_id(self) -> bool {
        self.request
            .is_some_and(|request| request.artifacts.namespace_type == NamespaceType::BuildId)
    }
}

/// Reports everything in a buildspec that a build would not honour.
pub(super) fn check(buildspec: &Buildspec, given: Given<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let mut report = Report {
        strict: given.request.is_some_and(|request| request.strict),
        diagnostics,
    };
    report.batch(buildspec);
    report.runtimes(buildspec, given);
    report.users(buildspec, given);
    report.prefix(buildspec, given);
    report.surroundings(buildspec, given);
}

struct Report<'d> {
    strict: bool,
    diagnostics: &'d mut Vec<Diagnostic>,
}

impl Report<'_> {
    /// A build can do without it, and its author should know.
    fn warn(&mut self, span: Span, message: impl Into<String>, help: impl Into<String>) {
        self.warn_of(Code::UnsupportedHere, span, message, help);
    }

    /// The same for what has a name of its own.
    fn warn_of(
        &mut self,
        code: Code,
        span: Span,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let severity = if self.strict {
            Severity::Error
        } else {
            Severity::Warning
        };
        let diagnostic = Diagnostic::new(code, span, message)
            .with_severity(severity)
            .with_help(help);
        self.diagnostics.push(diagnostic);
    }

    /// A file that only declares a batch is right, but there is nothing in it that one build could run.
    fn batch(&mut self, buildspec: &Buildspec) {
        if let (true, Some(batch)) = (buildspec.phases.is_empty(), buildspec.batch) {
            let diagnostic = Diagnostic::new(Code::PhasesMissing, batch, "this file only declares a batch: one build has nothing to run")
                .with_help("run the buildspec of one of its builds with `--file`; batch builds are not supported yet");
            self.diagnostics.push(diagnostic);
        }
    }

    /// On a host there is what there is: a build with something else is said (RUN-6).
    fn runtimes(&mut self, buildspec: &Buildspec, given: Given<'_>) {
        let install = buildspec.phase(CommandPhase::Install);
        let asked = install.and_then(|phase| phase.runtime_versions.as_ref());
        let Some(asked) = asked.filter(|asked| !asked.value.is_empty()) else {
            return;
        };
        match given.request.map(|request| &request.runtimes) {
            None => self.warn_of(
                Code::RuntimeVersionsHost,
                asked.span,
                "`runtime-versions` are not installed on a host: the tools on PATH are used",
                "check that PATH has the versions that are listed",
            ),
            Some(Runtimes::OfImage) => {}
            Some(Runtimes::OnMachine(found)) => {
                for (runtime, found) in asked.value.iter().zip(found) {
                    if let Some(problem) = found.problem() {
                        self.warn_of(
                            Code::RuntimeVersionsHost,
                            runtime.value.span,
                            problem,
                            "put that version first on PATH, or run the build in an image that has it, with `--image`",
                        );
                    }
                }
            }
        }
    }

    /// Only root can become somebody else (CMD-17).
    fn users(&mut self, buildspec: &Buildspec, given: Given<'_>) {
        let phases = buildspec
            .phases
            .iter()
            .filter_map(|phase| phase.run_as.as_ref());
        for user in buildspec.run_as.iter().chain(phases) {
            if user.value.is_empty() || given.can_be(&user.value) {
                continue;
            }
            let message = match given.request {
                Some(_) => "is not honoured: commands run as the user who runs this program",
                None => "is honoured in a container, or on a host if root runs this program",
            };
            self.warn(
                user.span,
                format!("`run-as: {}` {message}", user.value),
                "start the runner as root or as that user, or run the build in a container with `--image`",
            );
        }
    }

    /// Not a matter of support, so `--strict` changes nothing about it.
    fn prefix(&mut self, buildspec: &Buildspec, given: Given<'_>) {
        if given.has_build_id() {
            return;
        }
        let artifacts = buildspec.artifacts.iter().flat_map(|artifacts| {
            let secondary = artifacts.secondary.iter().map(|(_, artifact)| artifact);
            artifacts.primary.iter().chain(secondary)
        });
        for prefix in artifacts.filter_map(|artifact| artifact.s3_prefix.as_ref()) {
            let message = "`s3-prefix` is not used: it needs the namespace type BUILD_ID";
            let diagnostic = Diagnostic::new(Code::UnsupportedHere, prefix.span, message)
                .with_help("pass `--artifact-namespace build-id`, or remove it");
            self.diagnostics.push(diagnostic);
        }
    }

    fn surroundings(&mut self, buildspec: &Buildspec, given: Given<'_>) {
        let cache = buildspec.cache.as_ref();
        // Whether there is one is for each build to say, and not for whoever only looks at the file.
        let is_asked = given.request.is_some_and(|request| request.cache.is_none());
        if let Some(cache) = cache.filter(|_| is_asked) {
            self.warn(
                cache.span,
                "`cache` is not used: this build has no place for it",
                "name one with `--cache DIR` or `--cache s3://BUCKET/PREFIX`; `--cache` alone keeps it in your own cache directory",
            );
        }
        let has_git = given
            .request
            .is_some_and(|request| request.has_git_credentials);
        if let (Some(span), false) = (buildspec.git_credential_helper, has_git) {
            self.warn(
                span,
                "`git-credential-helper` has no credentials to give: it needs `--git-credential`",
                "say where a token is, such as `--git-credential env:CODEBUILD_GIT_TOKEN`; without it git has what the machine has",
            );
        }
    }
}
