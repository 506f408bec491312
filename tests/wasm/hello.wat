;; SPDX-License-Identifier: Apache-2.0
;; The smallest preview 1 command that says something: "hello from a module\n" to standard output.
(module
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 8) "\10\00\00\00\14\00\00\00")
  (data (i32.const 16) "hello from a module\n")
  (func (export "_start")
    (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 0)))))
