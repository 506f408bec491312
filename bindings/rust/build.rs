// SPDX-License-Identifier: Apache-2.0
//! Finds libberth by pkg-config. Nothing is compiled or fetched here.

use std::process::Command;

fn pkg_config(what: &str) -> String {
    let program = std::env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output = Command::new(&program)
        .args([what, "berth"])
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}; it finds libberth (install pkg-config)"));
    if !output.status.success() {
        panic!(
            "{program} {what} berth: {}; install libberth, or say where berth.pc is in PKG_CONFIG_PATH",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn main() {
    for flag in pkg_config("--libs").split_whitespace() {
        match flag.split_at(flag.len().min(2)) {
            ("-L", path) => println!("cargo:rustc-link-search=native={path}"),
            ("-l", library) => println!("cargo:rustc-link-lib=dylib={library}"),
            _ => (),
        }
    }
    for variable in ["PKG_CONFIG", "PKG_CONFIG_PATH", "PKG_CONFIG_LIBDIR", "PKG_CONFIG_SYSROOT_DIR"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
