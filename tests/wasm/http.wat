;; SPDX-License-Identifier: Apache-2.0
;; A wasi:http component for tests, in text so that it needs no tool to build. The first letter of the path says what it does:
;;   /   "hello N\n", N: which call of this instance it is      t  traps      s  computes for ever
;;   m   grows its memory until it is refused, then traps       n  ends without an answer
;;   l   prints three lines, the last without an end            h  answers half, then traps
;;   b   answers 4 MiB in 1,024 pieces                          w  waits 60 s, then answers
;;   p   prints lines for ever                                  g  grows by 1 MiB, then answers
(component
  (import "wasi:io/error@0.2.0" (instance $io-error (export "error" (type (sub resource)))))
  (alias export $io-error "error" (type $error))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $p (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $p))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type $os (sub resource)))
    (export "error" (type $e (eq $error)))
    (type $se' (variant (case "last-operation-failed" (own $e)) (case "closed")))
    (export "stream-error" (type $se (eq $se')))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $os)) (param "contents" (list u8)) (result (result (error $se)))))))
  (alias export $streams "output-stream" (type $output-stream))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (export "pollable" (type $p (eq $pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (export "output-stream" (type $os (eq $output-stream)))
    (export "get-stdout" (func (result (own $os))))))
  (import "wasi:http/types@0.2.0" (instance $http
    (export "output-stream" (type $os (eq $output-stream)))
    (type $dns' (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns')))
    (type $tls' (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls')))
    (type $size' (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $size (eq $size')))
    (type $code' (variant
      (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found") (case "destination-unavailable")
      (case "destination-IP-prohibited") (case "destination-IP-unroutable") (case "connection-refused")
      (case "connection-terminated") (case "connection-timeout") (case "connection-read-timeout")
      (case "connection-write-timeout") (case "connection-limit-reached") (case "TLS-protocol-error")
      (case "TLS-certificate-error") (case "TLS-alert-received" $tls) (case "HTTP-request-denied")
      (case "HTTP-request-length-required") (case "HTTP-request-body-size" (option u64))
      (case "HTTP-request-method-invalid") (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32)) (case "HTTP-request-header-size" (option $size))
      (case "HTTP-request-trailer-section-size" (option u32)) (case "HTTP-request-trailer-size" $size)
      (case "HTTP-response-incomplete") (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $size) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32)) (case "HTTP-response-trailer-size" $size)
      (case "HTTP-response-transfer-coding" (option string)) (case "HTTP-response-content-coding" (option string))
      (case "HTTP-response-timeout") (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $code (eq $code')))
    (export "fields" (type $f (sub resource)))
    (export "incoming-request" (type $ir (sub resource)))
    (export "response-outparam" (type $ro (sub resource)))
    (export "outgoing-response" (type $or (sub resource)))
    (export "outgoing-body" (type $ob (sub resource)))
    (export "[constructor]fields" (func (result (own $f))))
    (export "[method]incoming-request.path-with-query" (func (param "self" (borrow $ir)) (result (option string))))
    (export "[constructor]outgoing-response" (func (param "headers" (own $f)) (result (own $or))))
    (export "[method]outgoing-response.body" (func (param "self" (borrow $or)) (result (result (own $ob)))))
    (export "[static]response-outparam.set"
      (func (param "param" (own $ro)) (param "response" (result (own $or) (error $code)))))
    (export "[method]outgoing-body.write" (func (param "self" (borrow $ob)) (result (result (own $os)))))
    (export "[static]outgoing-body.finish"
      (func (param "this" (own $ob)) (param "trailers" (option (own $f))) (result (result (error $code)))))))
  (alias export $http "incoming-request" (type $incoming-request))
  (alias export $http "response-outparam" (type $response-outparam))

  (core module $libc-module
    (memory (export "memory") 2)
    (global $top (mut i32) (i32.const 8192))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.and (i32.add (global.get $top) (i32.const 15)) (i32.const -16)))
      (global.set $top (i32.add (local.get $at) (local.get 3)))
      (local.get $at)))
  (core instance $libc (instantiate $libc-module))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))

  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $path (canon lower (func $http "[method]incoming-request.path-with-query") (memory $memory) (realloc (core func $realloc))))
  (core func $response (canon lower (func $http "[constructor]outgoing-response")))
  (core func $body (canon lower (func $http "[method]outgoing-response.body") (memory $memory)))
  (core func $set (canon lower (func $http "[static]response-outparam.set") (memory $memory)))
  (core func $write (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $finish (canon lower (func $http "[static]outgoing-body.finish") (memory $memory) (realloc (core func $realloc))))
  (core func $put (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $memory)))
  (core func $get-stdout (canon lower (func $stdout "get-stdout")))
  (core func $sleep (canon lower (func $clock "subscribe-duration")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $drop-stream (canon resource.drop $output-stream))

  (core module $main-module
    (import "libc" "memory" (memory 2))
    (import "host" "fields" (func $fields (result i32)))
    (import "host" "path" (func $path (param i32 i32)))
    (import "host" "response" (func $response (param i32) (result i32)))
    (import "host" "body" (func $body (param i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "host" "write" (func $write (param i32 i32)))
    (import "host" "finish" (func $finish (param i32 i32 i32 i32)))
    (import "host" "put" (func $put (param i32 i32 i32 i32)))
    (import "host" "stdout" (func $get-stdout (result i32)))
    (import "host" "sleep" (func $sleep (param i64) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (import "host" "drop-stream" (func $drop-stream (param i32)))
    (data (i32.const 64) "hello 0\n")
    (data (i32.const 96) "first line\nsecond\nthe rest")
    (global $calls (mut i32) (i32.const 0))
    (func $trap (unreachable))
    (func $grow_for_ever
      (loop $again (br_if $again (i32.ne (memory.grow (i32.const 16)) (i32.const -1))))
      (call $trap))
    (func $print (param $from i32) (param $n i32) (local $s i32)
      (local.set $s (call $get-stdout))
      (call $put (local.get $s) (local.get $from) (local.get $n) (i32.const 32))
      (call $drop-stream (local.get $s)))
    (func $answer (param $out i32) (param $pieces i32) (param $from i32) (param $n i32) (param $half i32)
      (local $body i32) (local $s i32) (local $r i32)
      (local.set $r (call $response (call $fields)))
      (call $body (local.get $r) (i32.const 16))
      (local.set $body (i32.load (i32.const 20)))
      (call $set (local.get $out) (i32.const 0) (local.get $r) (i32.const 0) (i64.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
      (call $write (local.get $body) (i32.const 16))
      (local.set $s (i32.load (i32.const 20)))
      (loop $next
        (call $put (local.get $s) (local.get $from) (local.get $n) (i32.const 32))
        (local.set $pieces (i32.sub (local.get $pieces) (i32.const 1)))
        (br_if $next (i32.gt_s (local.get $pieces) (i32.const 0))))
      (if (local.get $half) (then (call $trap)))
      (call $drop-stream (local.get $s))
      (call $finish (local.get $body) (i32.const 0) (i32.const 0) (i32.const 16)))
    (func (export "ping") (result i32) (i32.const 7))
    (func (export "handle") (param $request i32) (param $out i32) (local $c i32)
      (global.set $calls (i32.add (global.get $calls) (i32.const 1)))
      (i32.store8 (i32.const 70) (i32.add (i32.const 48) (global.get $calls)))
      (call $path (local.get $request) (i32.const 16))
      (if (i32.gt_u (i32.load (i32.const 24)) (i32.const 1))
        (then (local.set $c (i32.load8_u (i32.add (i32.load (i32.const 20)) (i32.const 1))))))
      (if (i32.eq (local.get $c) (i32.const 116)) (then (call $trap)))                                      ;; t
      (if (i32.eq (local.get $c) (i32.const 115)) (then (loop $ever (br $ever))))                           ;; s
      (if (i32.eq (local.get $c) (i32.const 109)) (then (call $grow_for_ever)))                             ;; m
      (if (i32.eq (local.get $c) (i32.const 110)) (then (return)))                                          ;; n
      (if (i32.eq (local.get $c) (i32.const 103)) (then (drop (memory.grow (i32.const 16)))))               ;; g
      (if (i32.eq (local.get $c) (i32.const 119)) (then (call $block (call $sleep (i64.const 60000000000))))) ;; w
      (if (i32.eq (local.get $c) (i32.const 108)) (then (call $print (i32.const 96) (i32.const 26))))       ;; l
      (if (i32.eq (local.get $c) (i32.const 112))
        (then (loop $more (call $print (i32.const 96) (i32.const 18)) (br $more))))                         ;; p
      (if (i32.eq (local.get $c) (i32.const 98))
        (then (call $answer (local.get $out) (i32.const 1024) (i32.const 65536) (i32.const 4096) (i32.const 0)) (return)))
      (if (i32.eq (local.get $c) (i32.const 104))                                                           ;; h
        (then (call $answer (local.get $out) (i32.const 256) (i32.const 65536) (i32.const 4096) (i32.const 1)) (return)))
      (call $answer (local.get $out) (i32.const 1) (i32.const 64) (i32.const 8) (i32.const 0))))
  (core instance $main (instantiate $main-module
    (with "libc" (instance $libc))
    (with "host" (instance
      (export "fields" (func $fields)) (export "path" (func $path)) (export "response" (func $response))
      (export "body" (func $body)) (export "set" (func $set)) (export "write" (func $write)) (export "finish" (func $finish))
      (export "put" (func $put)) (export "stdout" (func $get-stdout)) (export "sleep" (func $sleep))
      (export "block" (func $block)) (export "drop-stream" (func $drop-stream))))))
  (func $handle (param "request" (own $incoming-request)) (param "response-out" (own $response-outparam))
    (canon lift (core func $main "handle")))
  (func $ping (result u32) (canon lift (core func $main "ping")))
  (export "ping" (func $ping))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
