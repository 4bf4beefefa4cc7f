package main

import (
	"errors"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
)

// timeFlag is a flag whose value is a duration: 500ms, 2m, or a number alone,
// which is seconds.
type timeFlag = cli.FlagBase[time.Duration, cli.NoConfig, timeValue]

// timeValue is the value of a timeFlag. It implements cli.Value and
// cli.ValueCreator.
type timeValue time.Duration

func (timeValue) Create(val time.Duration, p *time.Duration, _ cli.NoConfig) cli.Value {
	*p = val
	return (*timeValue)(p)
}

func (timeValue) ToString(val time.Duration) string { return val.String() }

func (v *timeValue) Set(s string) error {
	d, err := parseTime(s)
	if err == nil {
		*v = timeValue(d)
	}
	return err
}

func (v *timeValue) Get() any { return time.Duration(*v) }

func (v *timeValue) String() string { return time.Duration(*v).String() }

// parseTime reads a duration above 0.
func parseTime(s string) (time.Duration, error) {
	text := s
	if text != "" && strings.Trim(text, "0123456789.") == "" {
		text += "s"
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return 0, errors.New("want a time such as 500ms, 5s or 2m; a number alone is seconds")
	}
	return d, nil
}
