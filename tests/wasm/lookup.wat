;; SPDX-License-Identifier: Apache-2.0
;; A preview 2 command for tests: looks "known.example" up through wasi:sockets; succeeds when an address comes back.
(component
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:sockets/network@0.2.0" (instance $network
    (export "network" (type $n (sub resource)))
    (type $code' (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit" "address-not-bindable"
      "address-in-use" "remote-unreachable" "connection-refused" "connection-reset" "connection-aborted"
      "datagram-too-large" "name-unresolvable" "temporary-resolver-failure" "permanent-resolver-failure"))
    (export "error-code" (type $code (eq $code')))
    (type $four' (tuple u8 u8 u8 u8))
    (export "ipv4-address" (type $four (eq $four')))
    (type $six' (tuple u16 u16 u16 u16 u16 u16 u16 u16))
    (export "ipv6-address" (type $six (eq $six')))
    (type $ip' (variant (case "ipv4" $four) (case "ipv6" $six)))
    (export "ip-address" (type $ip (eq $ip')))))
  (alias export $network "network" (type $network-type))
  (alias export $network "error-code" (type $error-code))
  (alias export $network "ip-address" (type $ip-address))
  (import "wasi:sockets/instance-network@0.2.0" (instance $instance
    (export "network" (type $n (eq $network-type)))
    (export "instance-network" (func (result (own $n))))))
  (import "wasi:sockets/ip-name-lookup@0.2.0" (instance $lookup
    (export "pollable" (type $p (eq $pollable)))
    (export "network" (type $n (eq $network-type)))
    (export "error-code" (type $code (eq $error-code)))
    (export "ip-address" (type $ip (eq $ip-address)))
    (export "resolve-address-stream" (type $s (sub resource)))
    (export "[method]resolve-address-stream.resolve-next-address"
      (func (param "self" (borrow $s)) (result (result (option $ip) (error $code)))))
    (export "[method]resolve-address-stream.subscribe" (func (param "self" (borrow $s)) (result (own $p))))
    (export "resolve-addresses"
      (func (param "network" (borrow $n)) (param "name" string) (result (result (own $s) (error $code)))))))

  (core module $libc-module (memory (export "memory") 1))
  (core instance $libc (instantiate $libc-module))
  (alias core export $libc "memory" (core memory $memory))
  (core func $network-of (canon lower (func $instance "instance-network")))
  (core func $resolve (canon lower (func $lookup "resolve-addresses") (memory $memory)))
  (core func $subscribe (canon lower (func $lookup "[method]resolve-address-stream.subscribe")))
  (core func $next (canon lower (func $lookup "[method]resolve-address-stream.resolve-next-address") (memory $memory)))
  (core func $block (canon lower (func $poll "[method]pollable.block")))

  (core module $main-module
    (import "libc" "memory" (memory 1))
    (import "host" "network" (func $network (result i32)))
    (import "host" "resolve" (func $resolve (param i32 i32 i32 i32)))
    (import "host" "subscribe" (func $subscribe (param i32) (result i32)))
    (import "host" "next" (func $next (param i32 i32)))
    (import "host" "block" (func $block (param i32)))
    (data (i32.const 64) "known.example")
    (func (export "run") (result i32) (local $s i32)
      (call $resolve (call $network) (i32.const 64) (i32.const 13) (i32.const 0))
      (if (i32.load8_u (i32.const 0)) (then (return (i32.const 1))))
      (local.set $s (i32.load (i32.const 4)))
      (call $block (call $subscribe (local.get $s)))
      (call $next (local.get $s) (i32.const 16))
      (if (i32.load8_u (i32.const 16)) (then (return (i32.const 1))))
      (i32.eqz (i32.load8_u (i32.const 18)))))
  (core instance $main (instantiate $main-module
    (with "libc" (instance $libc))
    (with "host" (instance
      (export "network" (func $network-of)) (export "resolve" (func $resolve)) (export "subscribe" (func $subscribe))
      (export "next" (func $next)) (export "block" (func $block))))))
  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
