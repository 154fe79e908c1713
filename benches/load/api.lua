-- wrk script: one operation in a loop. TOKEN, OPERATION and BODY come from the environment.
wrk.method = "POST"
wrk.path = "/api/v1/" .. os.getenv("OPERATION")
wrk.body = os.getenv("BODY")
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("TOKEN")
local failed = 0
function response(status, headers, body)
  if status ~= 200 then failed = failed + 1; if failed < 4 then io.stderr:write(status .. " " .. body .. "\n") end end
end
