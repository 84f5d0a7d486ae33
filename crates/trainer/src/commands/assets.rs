//! The files of the page and of the report, which are in the program. They load nothing from anywhere else.

use std::borrow::Cow;

use serving::Asset;

/// The scripts that the page and the report share.
const ELEMENTS: Asset = Asset::script("/elements.js", include_bytes!("../../page/elements.js"));
const CHART: Asset = Asset::script("/chart.js", include_bytes!("../../page/chart.js"));
const METRICS: Asset = Asset::script("/metrics.js", include_bytes!("../../page/metrics.js"));
const SCORES: Asset = Asset::script("/scores.js", include_bytes!("../../page/scores.js"));

/// Those of the page.
pub(super) const ASSETS: &[Asset] = &[
    Asset::html("/", include_bytes!("../../page/index.html")),
    Asset::css("/style.css", include_bytes!("../../page/style.css")),
    Asset::svg("/icon.svg", include_bytes!("../../page/icon.svg")),
    Asset::script("/main.js", include_bytes!("../../page/main.js")),
    Asset::script("/server.js", include_bytes!("../../page/server.js")),
    ELEMENTS,
    CHART,
    METRICS,
    SCORES,
    Asset::script("/runs.js", include_bytes!("../../page/runs.js")),
    Asset::script("/curves.js", include_bytes!("../../page/curves.js")),
    Asset::script("/beginning.js", include_bytes!("../../page/beginning.js")),
    Asset::script("/draw.js", include_bytes!("../../page/draw.js")),
    Asset::script("/row.js", include_bytes!("../../page/row.js")),
    Asset::script("/understand.js", include_bytes!("../../page/understand.js")),
    Asset::script("/recipe.js", include_bytes!("../../page/recipe.js")),
    Asset::script("/judge.js", include_bytes!("../../page/judge.js")),
];

/// The script of the report, behind those that it imports.
pub(super) const REPORT: &[Asset] = &[
    ELEMENTS,
    CHART,
    METRICS,
    SCORES,
    Asset::script("/report.js", include_bytes!("../../page/report.js")),
];

/// The text of one of the page's files; nothing where there is none of this name.
pub(super) fn text(path: &str) -> Cow<'static, str> {
    let asset = ASSETS.iter().find(|asset| asset.path == path);
    String::from_utf8_lossy(asset.map_or(b"", |asset| asset.bytes))
}

/// Scripts in one, each behind those that it imports: a page from disk may load no others.
pub(super) fn one_script(scripts: &[Asset]) -> String {
    let mut all = String::new();
    for script in scripts {
        for line in String::from_utf8_lossy(script.bytes).lines() {
            if !line.starts_with("import ") {
                all += line.strip_prefix("export ").unwrap_or(line);
                all += "\n";
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_small_and_loads_nothing_from_elsewhere() {
        let all: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(all <= 200_000, "{all} bytes");
        for asset in ASSETS.iter().chain(REPORT) {
            let text = String::from_utf8_lossy(asset.bytes);
            let links = text.replace("http://www.w3.org/2000/svg", "");
            for foreign in ["http:", "https:", "//cdn", "eval(", "innerHTML", "style=\""] {
                assert!(!links.contains(foreign), "{}: {foreign}", asset.path);
            }
        }
    }

    #[test]
    fn every_script_that_is_imported_is_there() {
        for asset in ASSETS.iter().filter(|asset| asset.path.ends_with(".js")) {
            let text = String::from_utf8_lossy(asset.bytes);
            for line in text.lines().filter(|line| line.starts_with("import ")) {
                let name = line
                    .split('"')
                    .nth(1)
                    .and_then(|name| name.strip_prefix('.'));
                assert!(
                    ASSETS.iter().any(|other| Some(other.path) == name),
                    "{line}"
                );
            }
        }
    }
}
