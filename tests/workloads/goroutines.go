// SPDX-License-Identifier: GPL-2.0-or-later

// goroutines: goroutines on growing stacks of their own, which take the run-time's locks and, through cgo, two
// pthread mutexes, always in one order. For each line on stdin it prints one of JSON, in which steps and
// counted are the same number.
package main

/*
#cgo LDFLAGS: -pthread
#include <pthread.h>

static pthread_mutex_t outer = PTHREAD_MUTEX_INITIALIZER, inner = PTHREAD_MUTEX_INITIALIZER;
static unsigned long counted;

static int count(void)
{
	int wrong = pthread_mutex_lock(&outer);
	wrong |= pthread_mutex_lock(&inner);
	counted++;
	wrong |= pthread_mutex_unlock(&inner);
	return wrong | pthread_mutex_unlock(&outer);
}

static unsigned long read_counted(void)
{
	return counted;
}
*/
import "C"

import (
	"bufio"
	"fmt"
	"os"
	"runtime"
	"sync"
)

var (
	mutex sync.RWMutex
	steps uint64
	wrong uint64
)

// descend makes the stack grow, which moves it, and takes the locks at its end.
func descend(depth int) byte {
	var frame [256]byte
	frame[depth%256] = byte(depth)
	if depth > 0 {
		return frame[depth%256] + descend(depth-1)
	}
	mutex.Lock()
	if C.count() != 0 {
		wrong++
	}
	steps++
	mutex.Unlock()
	return frame[0]
}

func main() {
	for i := 0; i < 8; i++ {
		go func() {
			for {
				done := make(chan byte)
				go func() { done <- descend(100) }()
				<-done
			}
		}()
	}
	go func() {
		for {
			runtime.GC()
		}
	}()
	fmt.Printf("{\"ready\":true,\"pid\":%d,\"tids\":{},\"blocked_at_monotonic_ns\":{},\"facts\":{}}\n", os.Getpid())
	for input := bufio.NewScanner(os.Stdin); input.Scan(); {
		mutex.Lock()
		fmt.Printf("{\"steps\":%d,\"counted\":%d,\"wrong\":%d}\n", steps, uint64(C.read_counted()), wrong)
		mutex.Unlock()
	}
}
