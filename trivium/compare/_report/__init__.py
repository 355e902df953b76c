"""Parts of the report page: words and numbers, safe markup, charts, and the style and script that go with them."""
