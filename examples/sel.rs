//! x
use buildspec_runner::artifact::*;
use buildspec_runner::source::LineColumn;
use std::time::Instant;
fn main() {
    let d = std::env::args().nth(1).unwrap();
    let pat = std::env::args().nth(2).unwrap();
    let out = std::env::args().nth(3);
    let t = Instant::now();
    let s = select(
        &Selection {
            identifier: None,
            base_directory: None,
            files: vec![(pat.into(), LineColumn { line: 1, column: 1 })],
            exclude_paths: vec![],
            discard_paths: false,
            keep_symlinks: false,
        },
        &Workspace {
            source_directory: d.into(),
            hidden: vec![],
        },
    );
    let m = s.manifest.unwrap();
    println!("{} files {:?}", m.len(), t.elapsed());
    if let Some(o) = out {
        let t = Instant::now();
        let p = archive::write(
            &m,
            o.as_ref(),
            std::env::args().nth(4).unwrap().parse().unwrap(),
            &mut |_| {},
            &std::sync::atomic::AtomicBool::new(false),
        )
        .unwrap();
        println!("{p:?} {:?}", t.elapsed());
    }
}
