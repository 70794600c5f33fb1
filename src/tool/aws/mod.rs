//! `aws`: what builds of images need of it.

mod answer;
mod query;

pub(super) use answer::answer;
pub(super) use query::Query;

use super::front::{Action, Call, Environment, Mistake, Upload};
use super::options::{self, Parsed, Spec, switch, value};
use super::request::{AwsRequest, Caller, Keys, Operation, Request, Secret};

/// What is supported, as people write it.
pub(super) const SUPPORTED: &[&str] = &[
    "aws ecr get-login-password [--region REGION] [--profile PROFILE]",
    "aws ecr get-login [--no-include-email] [--registry-ids ID…] [--region REGION] [--profile PROFILE]",
    "aws ecr-public get-login-password [--region us-east-1] [--profile PROFILE]",
    "aws sts get-caller-identity [--query Account|Arn|UserId] [--output text|json]",
    "aws --version",
];

const OPTIONS: &[Spec] = &[
    value("region"),
    value("profile"),
    value("output"),
    value("query"),
    value("registry-ids"),
    value("endpoint-url"),
    value("cli-connect-timeout"),
    value("cli-read-timeout"),
    value("color"),
    switch("include-email"),
    switch("no-include-email"),
    switch("no-cli-pager"),
    switch("no-cli-auto-prompt"),
    switch("no-paginate"),
    switch("version"),
];

/// What these words ask for.
pub(super) fn read(words: &[String], environment: &Environment) -> Result<Action, Mistake> {
    let parsed = options::parse(OPTIONS, words).map_err(Mistake::option)?;
    if parsed.is_on("version") {
        return Ok(Action::Print(format!(
            "aws-cli/2.0.0 buildspec-runner/{} (runner's own: ECR logins and the caller's identity)\n",
            env!("CARGO_PKG_VERSION")
        )));
    }
    let operation = operation(&parsed, environment)?;
    let caller = caller(&parsed, environment)?;
    Ok(Action::Call(Box::new(Call {
        request: Request::Aws(AwsRequest { caller, operation }),
        upload: Upload::Nothing,
        output: None,
    })))
}

fn operation(parsed: &Parsed, environment: &Environment) -> Result<Operation, Mistake> {
    let words: Vec<&str> = parsed.operands.iter().map(String::as_str).collect();
    let (command, more) = words.split_at(words.len().min(2));
    let only = |of: &str, name: &str| {
        let is_own = command == of.split(' ').collect::<Vec<&str>>().as_slice();
        match parsed.value(name) {
            Some(_) if !is_own => Err(Mistake::new(format!(
                "`--{name}` does not go with `aws {}`",
                command.join(" ")
            ))),
            _ => Ok(()),
        }
    };
    only("ecr get-login", "registry-ids")?;
    only("ecr get-login", "include-email")?;
    only("ecr get-login", "no-include-email")?;
    only("sts get-caller-identity", "query")?;
    let operation = match command {
        ["ecr", "get-login-password"] => Operation::Password,
        ["ecr-public", "get-login-password"] => Operation::PublicPassword,
        // `--registry-ids` takes all words behind it.
        ["ecr", "get-login"] => {
            return Ok(Operation::Login {
                registries: parsed
                    .values("registry-ids")
                    .chain(more.iter().copied())
                    .map(str::to_owned)
                    .collect(),
                email: !parsed.is_on("no-include-email"),
            });
        }
        ["sts", "get-caller-identity"] => Operation::Identity {
            query: parsed
                .value("query")
                .map(Query::parse)
                .transpose()
                .map_err(Mistake::new)?,
            text: wants_text(parsed, environment)?,
        },
        [] => return Err(Mistake::new("no command is given")),
        _ => {
            return Err(Mistake::new(format!(
                "`aws {}` is not supported",
                command.join(" ")
            )));
        }
    };
    match more.first() {
        Some(word) => Err(Mistake::new(format!("unexpected argument `{word}`"))),
        None => Ok(operation),
    }
}

fn wants_text(parsed: &Parsed, environment: &Environment) -> Result<bool, Mistake> {
    let default = environment.text("AWS_DEFAULT_OUTPUT");
    match parsed.value("output").or(default.as_deref()) {
        None | Some("json") => Ok(false),
        Some("text") => Ok(true),
        Some(other) => Err(Mistake::new(format!(
            "`--output {other}` is not supported, only `json` and `text`"
        ))),
    }
}

fn caller(parsed: &Parsed, environment: &Environment) -> Result<Caller, Mistake> {
    let said = |option: &str, variables: &[&str]| {
        let variable = || variables.iter().find_map(|name| environment.text(name));
        parsed.value(option).map(str::to_owned).or_else(variable)
    };
    let profile = said("profile", &["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    let endpoint = parsed.value("endpoint-url").map(str::to_owned);
    if let Some(endpoint) = endpoint.as_deref().filter(|endpoint| !is_of_aws(endpoint)) {
        return Err(Mistake::new(format!(
            "`--endpoint-url {endpoint}` is no HTTPS address of AWS"
        )));
    }
    Ok(Caller {
        region: said("region", &["AWS_REGION", "AWS_DEFAULT_REGION"]),
        // A profile on the command line is stronger than keys in the environment, as with the real tool.
        keys: if parsed.value("profile").is_some() {
            None
        } else {
            keys(environment)
        },
        profile,
        endpoint,
    })
}

fn keys(environment: &Environment) -> Option<Keys> {
    Some(Keys {
        id: environment.text("AWS_ACCESS_KEY_ID")?,
        secret: Secret(environment.text("AWS_SECRET_ACCESS_KEY")?),
        session: environment.text("AWS_SESSION_TOKEN").map(Secret),
    })
}

/// Whether an address is one of AWS: signed requests go nowhere else.
fn is_of_aws(address: &str) -> bool {
    let Some(host) = address.strip_prefix("https://") else {
        return false;
    };
    let host = host.trim_end_matches('/');
    let plain = host
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
    let domains = [
        ".amazonaws.com",
        ".amazonaws.com.cn",
        ".api.aws",
        ".api.amazonwebservices.com.cn",
    ];
    plain && domains.iter().any(|domain| host.ends_with(domain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str, variables: &[(&str, &str)]) -> Result<AwsRequest, String> {
        let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let environment = Environment::new(
            variables
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        match read(&words, &environment) {
            Ok(Action::Call(call)) => match call.request {
                Request::Aws(request) => Ok(request),
                Request::Docker(_)
                | Request::Credential { .. }
                | Request::Mask { .. }
                | Request::Git { .. } => {
                    panic!("{line}")
                }
            },
            Ok(_) => panic!("{line} is no call"),
            Err(mistake) => Err(mistake.message),
        }
    }

    // TOOL-5, TOOL-6
    #[test]
    fn what_is_asked_of_aws() {
        let table = [
            ("ecr get-login-password", Operation::Password),
            (
                "--region eu-west-1 ecr get-login-password",
                Operation::Password,
            ),
            (
                "ecr-public get-login-password --region us-east-1",
                Operation::PublicPassword,
            ),
            (
                "ecr get-login --no-include-email",
                Operation::Login {
                    registries: vec![],
                    email: false,
                },
            ),
            (
                "ecr get-login --registry-ids 1 2 --no-include-email",
                Operation::Login {
                    registries: vec!["1".to_owned(), "2".to_owned()],
                    email: false,
                },
            ),
            (
                "sts get-caller-identity",
                Operation::Identity {
                    query: None,
                    text: false,
                },
            ),
            (
                "sts get-caller-identity --query Account --output text",
                Operation::Identity {
                    query: Query::parse("Account").ok(),
                    text: true,
                },
            ),
        ];
        for (line, operation) in table {
            assert_eq!(
                asked(line, &[]).map(|request| request.operation),
                Ok(operation),
                "{line}"
            );
        }
    }

    #[test]
    fn who_asks() {
        let keys = [("AWS_ACCESS_KEY_ID", "A"), ("AWS_SECRET_ACCESS_KEY", "B")];
        let caller =
            |line, variables: &[_]| asked(line, variables).expect("it is supported").caller;
        let own = caller(
            "ecr get-login-password",
            &[
                &keys[..],
                &[("AWS_REGION", "r"), ("AWS_DEFAULT_REGION", "s")],
            ]
            .concat(),
        );
        assert_eq!(
            (
                own.region.as_deref(),
                own.keys.map(|keys| keys.id).as_deref()
            ),
            (Some("r"), Some("A"))
        );
        let said = caller("ecr get-login-password --region t --profile p", &keys);
        assert_eq!(
            (said.region.as_deref(), said.profile.as_deref(), said.keys),
            (Some("t"), Some("p"), None)
        );
        let text = format!("{:?}", caller("ecr get-login-password", &keys));
        assert!(!text.contains("\"B\""), "{text}");
    }

    // TOOL-4
    #[test]
    fn what_is_not_supported_is_said() {
        let table = [
            ("", "no command is given"),
            ("s3 cp a b", "`aws s3 cp` is not supported"),
            (
                "ecr describe-repositories --region x",
                "`aws ecr describe-repositories` is not supported",
            ),
            (
                "ecr describe-repositories --repository-names x",
                "unknown option `--repository-names`",
            ),
            (
                "ecr get-login-password extra",
                "unexpected argument `extra`",
            ),
            (
                "ecr get-login-password --query x",
                "`--query` does not go with `aws ecr get-login-password`",
            ),
            (
                "sts get-caller-identity --output yaml",
                "`--output yaml` is not supported, only `json` and `text`",
            ),
            (
                "sts get-caller-identity --endpoint-url http://sts.amazonaws.com",
                "`--endpoint-url http://sts.amazonaws.com` is no HTTPS address of AWS",
            ),
            (
                "sts get-caller-identity --endpoint-url https://x.example/.amazonaws.com",
                "`--endpoint-url https://x.example/.amazonaws.com` is no HTTPS address of AWS",
            ),
            (
                "sts get-caller-identity --region",
                "`--region` needs a value",
            ),
        ];
        for (line, message) in table {
            assert_eq!(asked(line, &[]), Err(message.to_owned()), "{line}");
        }
    }
}
