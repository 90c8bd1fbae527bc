//! Generates the codecs: records from `proto/*.schema`, the quorum's RPCs from `proto/quorum.proto`.

mod emit;
mod schema;

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Each schema file, and the enum over its records when they are told apart by a key.
const SCHEMAS: &[(&str, Option<&str>)] = &[
    ("metadata", Some("MetadataRecord")),
    ("control", None),
    ("offsets", None),
    ("rebalances", None),
    ("transactions", None),
];

fn main() {
    let proto = Path::new(&var("CARGO_MANIFEST_DIR")).join("../../proto");
    let out = PathBuf::from(var("OUT_DIR"));
    println!("cargo::rerun-if-changed={}", proto.display());
    for (name, family) in SCHEMAS {
        let path = proto.join(format!("{name}.schema"));
        let text = fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
        let schema = schema::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        fs::write(out.join(format!("{name}.rs")), emit::rust(&schema, *family)).expect("OUT_DIR takes files");
    }
    let files = protox::compile([proto.join("quorum.proto")], [&proto])
        .unwrap_or_else(|error| panic!("cannot compile proto/quorum.proto: {error:?}"));
    prost_build::compile_fds(files).expect("OUT_DIR takes files");
}

fn var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"))
}
