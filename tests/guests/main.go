// SPDX-License-Identifier: Apache-2.0

// A Go program as a guest: goroutines, a map, JSON, files, arguments, the environment and an exit code.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
)

func count(text string) map[string]int {
	var lock sync.Mutex
	var group sync.WaitGroup
	counts := map[string]int{}
	for _, line := range strings.Split(text, "\n") {
		group.Add(1)
		go func(line string) {
			defer group.Done()
			for _, word := range strings.Fields(line) {
				lock.Lock()
				counts[word]++
				lock.Unlock()
			}
		}(line)
	}
	group.Wait()
	return counts
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	counts := count(string(text))
	words := make([]string, 0, len(counts))
	for word := range counts {
		words = append(words, word)
	}
	sort.Strings(words)
	out, _ := json.Marshal(map[string]any{"counts": counts, "words": words, "who": os.Getenv("WHO")})
	if err := os.WriteFile(os.Args[2], append(out, '\n'), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(4)
	}
	fmt.Println(len(words), "words")
}
