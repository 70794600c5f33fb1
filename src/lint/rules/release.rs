//! What reaches the world outside although the build has failed.

use super::Rule;
use crate::diagnostic::{Code, Diagnostic};
use crate::lint::Subject;
use crate::lint::shell::{SimpleCommand, Word};
use crate::phase::CommandPhase;
use crate::plan::CommandList;

pub(super) const RULES: &[Rule] = &[after_a_failure];

/// What a command changes outside of the build, if it does: a deployment or something published. Pushing an image only
/// adds one that nobody uses yet.
pub(super) fn deploys(command: &SimpleCommand) -> Option<String> {
    const CALLS: &[&[&str]] = &[
        &["aws", "cloudformation", "deploy"],
        &["aws", "cloudformation", "update-stack"],
        &["aws", "deploy", "create-deployment"],
        &["aws", "ecs", "update-service"],
        &["aws", "lambda", "update-function-code"],
        &["aws", "s3", "sync"],
        &["aws", "elasticbeanstalk", "update-environment"],
        &["amplify", "publish"],
        &["cargo", "publish"],
        &["cdk", "deploy"],
        &["eb", "deploy"],
        &["gem", "push"],
        &["helm", "install"],
        &["helm", "upgrade"],
        &["kubectl", "apply"],
        &["kubectl", "rollout", "restart"],
        &["kubectl", "set", "image"],
        &["npm", "publish"],
        &["npx", "cdk", "deploy"],
        &["sam", "deploy"],
        &["serverless", "deploy"],
        &["sls", "deploy"],
        &["terraform", "apply"],
        &["tofu", "apply"],
        &["twine", "upload"],
        &["yarn", "publish"],
    ];
    let call = CALLS.iter().find(|call| command.calls(call))?;
    // From a bucket into the build: nothing is changed outside.
    let words: Vec<&Word> = command.operands().collect();
    let downloads = call[1] == "s3"
        && words
            .get(3)
            .is_some_and(|to| to.literal && !to.text.starts_with("s3://"));
    let only_shown = command.has_option(&["--dry-run", "--dryrun", "--no-execute-changeset"]);
    (!downloads && !only_shown).then(|| call.join(" "))
}

/// Whether an item, or one before it in its list, asks whether the build is still succeeding.
fn is_guarded(subject: &Subject<'_>, at: usize) -> bool {
    let own = &subject.items[at];
    let before = subject.items[..=at].iter();
    before
        .filter(|item| (item.phase, item.list) == (own.phase, own.list))
        .any(|item| item.text().contains("CODEBUILD_BUILD_SUCCEEDING"))
}

/// Something that changes the world outside, in a place that is reached after a failure (LINT-28).
fn after_a_failure(subject: &Subject<'_>, diagnostics: &mut Vec<Diagnostic>) {
    let phases = subject
        .buildspec
        .phases
        .iter()
        .flat_map(|phases| &phases.phases);
    let policy = |name: CommandPhase| {
        let mut of_name = phases.clone().filter(move |phase| phase.name.value == name);
        of_name.find_map(|phase| phase.on_failure.as_ref())
    };
    let continues = CommandPhase::ALL.into_iter().find_map(|name| {
        policy(name)
            .filter(|policy| policy.value.eq_ignore_ascii_case("continue"))
            .map(|policy| (name, policy.span))
    });
    let aborts = policy(CommandPhase::Build)
        .is_some_and(|policy| policy.value.eq_ignore_ascii_case("abort"));
    let builds = subject
        .items
        .iter()
        .any(|item| item.phase == CommandPhase::Build);
    if !subject.is_posix_shell() {
        return;
    }
    for (at, item) in subject.items.iter().enumerate() {
        let mut commands = item.script().commands.iter();
        let found = commands.find_map(|command| {
            let pushes = command
                .calls(&["docker", "push"])
                .then(|| "docker push".to_owned());
            Some((
                deploys(command).or(pushes.clone())?,
                pushes.is_some(),
                command,
            ))
        });
        let Some((what, pushes, command)) = found else {
            continue;
        };
        if is_guarded(subject, at) {
            continue;
        }
        let span = item.span(&command.range);
        let beside_commands = subject
            .items
            .iter()
            .any(|other| (other.phase, other.list) == (item.phase, CommandList::Commands));
        let diagnostic = if item.list == CommandList::Finally && beside_commands {
            let message = format!("`{what}` in `finally` also runs after the commands have failed");
            Diagnostic::new(Code::FinallyHasRequiredWork, span, message)
                .with_help("do it in `commands`; `finally` is for clearing up")
        } else if let Some((_, policy)) = continues.filter(|(phase, _)| *phase < item.phase) {
            let message = format!("`{what}` also runs after a failure");
            Diagnostic::new(Code::ContinueThenPush, span, message)
                .with_secondary(policy, "the build goes on after a failure because of this")
                .with_help(GUARD)
        } else if item.phase == CommandPhase::PostBuild && builds && !aborts && !pushes {
            let message = format!("`{what}` also runs after `build` has failed");
            Diagnostic::new(Code::PostBuildWithoutGuard, span, message).with_help(GUARD)
        } else {
            continue;
        };
        diagnostics.push(diagnostic);
        // One place is enough to say it.
        return;
    }
}

const GUARD: &str = "ask before it whether `$CODEBUILD_BUILD_SUCCEEDING` is `1`";
