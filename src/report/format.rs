//! The ten formats of reports (REP-3).

use crate::event::ReportKind;

/// In which format a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// JUnit XML, the default.
    JunitXml,
    /// XML of NUnit 2.
    NunitXml,
    /// XML of NUnit 3.
    Nunit3Xml,
    /// TestNG XML.
    TestngXml,
    /// Cucumber JSON.
    CucumberJson,
    /// Visual Studio TRX.
    VisualStudioTrx,
    /// Cobertura XML.
    CoberturaXml,
    /// Clover XML.
    CloverXml,
    /// `JaCoCo` XML.
    JacocoXml,
    /// JSON of the Ruby gem `simplecov`.
    SimpleCov,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::JunitXml,
        Self::NunitXml,
        Self::Nunit3Xml,
        Self::TestngXml,
        Self::CucumberJson,
        Self::VisualStudioTrx,
        Self::CoberturaXml,
        Self::CloverXml,
        Self::JacocoXml,
        Self::SimpleCov,
    ];

    /// The format of this name, in any casing.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        let text = text.trim();
        Self::ALL
            .into_iter()
            .find(|format| format.name().eq_ignore_ascii_case(text))
    }

    /// CodeBuild's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::JunitXml => "JUNITXML",
            Self::NunitXml => "NUNITXML",
            Self::Nunit3Xml => "NUNIT3XML",
            Self::TestngXml => "TESTNGXML",
            Self::CucumberJson => "CUCUMBERJSON",
            Self::VisualStudioTrx => "VISUALSTUDIOTRX",
            Self::CoberturaXml => "COBERTURAXML",
            Self::CloverXml => "CLOVERXML",
            Self::JacocoXml => "JACOCOXML",
            Self::SimpleCov => "SIMPLECOV",
        }
    }

    /// What reports of this format are about.
    #[must_use]
    pub const fn kind(self) -> ReportKind {
        match self {
            Self::JunitXml
            | Self::NunitXml
            | Self::Nunit3Xml
            | Self::TestngXml
            | Self::CucumberJson
            | Self::VisualStudioTrx => ReportKind::Test,
            Self::CoberturaXml | Self::CloverXml | Self::JacocoXml | Self::SimpleCov => {
                ReportKind::CodeCoverage
            }
        }
    }

    /// Whether files of this format are JSON; the others are XML.
    #[must_use]
    pub const fn is_json(self) -> bool {
        matches!(self, Self::CucumberJson | Self::SimpleCov)
    }

    /// The elements that files of this format may begin with, the usual one first. None for JSON.
    #[must_use]
    pub const fn roots(self) -> &'static [&'static str] {
        match self {
            Self::JunitXml => &["testsuite", "testsuites"],
            Self::NunitXml => &["test-results"],
            Self::Nunit3Xml => &["test-run", "test-suite"],
            Self::TestngXml => &["testng-results"],
            Self::VisualStudioTrx => &["TestRun"],
            Self::CoberturaXml | Self::CloverXml => &["coverage"],
            Self::JacocoXml => &["report"],
            Self::CucumberJson | Self::SimpleCov => &[],
        }
    }
}
