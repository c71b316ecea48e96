package errors

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTextForms(t *testing.T) {
	cause := errors.New("boom")
	require.Equal(t, "[CDC:ErrChangeFeedNotExists]changefeed not exists, default/a", ErrChangeFeedNotExists.New("default/a").Error())
	require.Equal(t, "[CDC:ErrSinkURIInvalid]sink uri invalid '%s': boom", ErrSinkURIInvalid.Wrap(cause).Error())
	require.Equal(t, "[CDC:ErrSinkURIInvalid]the sink scheme (x) is not supported", ErrSinkURIInvalid.Msg("the sink scheme (%s) is not supported", "x").Error())
	nested := ErrAPIInvalidParam.Wrap(ErrLoadTimezone.Wrap(cause))
	require.Equal(t, "[CDC:ErrAPIInvalidParam]invalid api parameter: [CDC:ErrLoadTimezone]load timezone: boom", nested.Error())
}

func TestCodeAndIs(t *testing.T) {
	err := fmt.Errorf("annotated: %w", ErrStartTsBeforeGC.New(1, 2))
	require.Equal(t, "CDC:ErrStartTsBeforeGC", CodeOf(err))
	require.ErrorIs(t, err, ErrStartTsBeforeGC)
	require.NotErrorIs(t, err, ErrSnapshotLostByGC)
	require.Equal(t, "", CodeOf(errors.New("plain")))
	require.Equal(t, "", CodeOf(nil))
	require.Equal(t, "CDC:ErrAPIInvalidParam", CodeOf(ErrAPIInvalidParam.Wrap(ErrLoadTimezone.New())), "the outermost code counts")
}

func TestProperties(t *testing.T) {
	cases := []struct {
		err                      error
		gc, unretryable, badRequ bool
	}{
		{ErrStartTsBeforeGC.New(1, 2), true, true, true},
		{ErrGCTTLExceeded.New(1, "a"), true, true, false},
		{ErrMySQLInvalidConfig.New(), false, true, true},
		{ErrMySQLTxnError.New(), false, false, false},
		{ErrChangeFeedAlreadyExists.New("a"), false, false, false},
		{errors.New("remote said [CDC:ErrCaptureNotExist]x"), false, false, true},
		{errors.New("remote said [CDC:ErrSyncRenameTableFailed]x"), false, true, false},
		{nil, false, false, false},
	}
	for _, c := range cases {
		require.Equal(t, c.gc, IsGCFastFail(c.err), "%v", c.err)
		require.Equal(t, c.unretryable, IsUnretryable(c.err), "%v", c.err)
		require.Equal(t, c.badRequ, IsBadRequest(c.err), "%v", c.err)
	}
	require.True(t, IsGCFastFailCode("CDC:ErrSnapshotLostByGC"))
	require.False(t, IsGCFastFailCode("CDC:ErrMySQLTxnError"))
}
