"""The server behind `lrcr serve`, and its page: search and judge photos in a browser (extra `app`)."""
