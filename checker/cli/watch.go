package cli

import (
	"context"

	"github.com/spf13/cobra"
)

func (a *app) watchCmd() *cobra.Command {
	return &cobra.Command{
		Use: "watch [LESSON]", Short: "Grade a lesson at every save", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			arg := ""
			if len(args) > 0 {
				arg = args[0]
			}
			return a.watch(cmd.Context(), arg)
		},
	}
}

func (a *app) watch(ctx context.Context, arg string) error { return nil }
